//! The plot: throughput against hit rate; latencies of hits and misses; memory of an edge.

use super::svg::{Anchor, Svg};
use super::{Curves, HitPoint};

const PANEL: f64 = 400.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 80.0;
const COLORS: [&str; 5] = ["#1b6ca8", "#d1495b", "#edae49", "#66a182", "#6b4e71"];
const GRID: &str = "#ddd";

/// A panel's place and vertical scale.
struct Panel {
    left: f64,
    bottom_value: f64,
    top_value: f64,
    /// From one line of the grid to the next; a power of ten if logarithmic.
    step: f64,
    logarithmic: bool,
}

impl Panel {
    /// The `index`-th panel, from 0 to a little above `most`.
    fn linear(index: usize, most: f64) -> Self {
        let step = round_step(most.max(1e-9) * 1.05 / 5.0);
        let top_value = (most.max(1e-9) * 1.05 / step).ceil() * step;
        Self { left: index as f64 * PANEL + LEFT, bottom_value: 0.0, top_value, step, logarithmic: false }
    }

    /// The `index`-th panel over whole powers of ten.
    fn logarithmic(index: usize, least: f64, most: f64) -> Self {
        let (low, high) = (least.max(1e-3).log10().floor(), most.max(1e-2).log10().ceil());
        let (bottom_value, top_value) = (low, high.max(low + 1.0));
        Self { left: index as f64 * PANEL + LEFT, bottom_value, top_value, step: 1.0, logarithmic: true }
    }

    const fn width() -> f64 {
        PANEL - LEFT - RIGHT
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(1e-9).log10() } else { value };
        let part = (value - self.bottom_value) / (self.top_value - self.bottom_value);
        HEIGHT - BOTTOM - part.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn frame(&self, svg: &mut Svg, title: &str, unit: &str) {
        svg.text((self.left + Self::width() / 2.0, 24.0), 14.0, Anchor::Middle, title);
        svg.text((self.left, TOP - 8.0), 10.0, Anchor::Middle, unit);
        let lines = ((self.top_value - self.bottom_value) / self.step).round() as u32;
        for line in 0..=lines {
            let value = self.bottom_value + f64::from(line) * self.step;
            let value = if self.logarithmic { 10f64.powf(value) } else { value };
            let y = self.y(value);
            svg.line((self.left, y), (self.left + Self::width(), y), GRID, 1.0);
            svg.text((self.left - 6.0, y + 4.0), 10.0, Anchor::End, &figure(value));
        }
    }

    /// A group of bars, `index` of `groups`, with its name below.
    fn bars(&self, svg: &mut Svg, (index, groups): (usize, usize), name: &str, values: &[(f64, &str)]) {
        let room = Self::width() / groups.max(1) as f64;
        let start = self.left + index as f64 * room;
        let width = room * 0.8 / values.len().max(1) as f64;
        for (at, (value, color)) in values.iter().enumerate() {
            let (x, y) = (start + room * 0.1 + at as f64 * width, self.y(*value));
            svg.bar((x, y), (width * 0.9, HEIGHT - BOTTOM - y), color);
            svg.text((x + width * 0.45, y - 3.0), 9.0, Anchor::Middle, &figure(*value));
        }
        self.below(svg, (index, groups), 0, name);
    }

    /// A name below the `index`-th of `groups` parts of the panel, on one of two lines.
    fn below(&self, svg: &mut Svg, (index, groups): (usize, usize), line: usize, name: &str) {
        let room = Self::width() / groups.max(1) as f64;
        let at = (self.left + (index as f64 + 0.5) * room, HEIGHT - BOTTOM + 14.0 + line as f64 * 13.0);
        svg.text(at, 10.0, Anchor::Middle, name);
    }
}

/// The next larger of 1, 2, 2.5, 5 and 10 times a power of ten: what the eye divides by.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.into_iter().map(|by| by * power).find(|round| *round >= step).unwrap_or(10.0 * power)
}

/// Draws it. Empty panels say that they are.
pub fn plot(curves: &Curves, title: &str) -> String {
    let mut svg = Svg::new(3.0 * PANEL, HEIGHT);
    hit_rates(&mut svg, curves);
    latencies(&mut svg, curves);
    memory(&mut svg, curves);
    svg.text((10.0, HEIGHT - 8.0), 9.0, Anchor::Start, title);
    svg.finish()
}

fn hit_rates(svg: &mut Svg, curves: &Curves) {
    let points = &curves.hit_rates;
    let most = points.iter().map(|point| point.rate).fold(0.0, f64::max);
    let panel = Panel::linear(0, most);
    panel.frame(svg, "Throughput against hit rate (tao13)", "operations/s");
    if points.is_empty() {
        return nothing(svg, &panel);
    }
    let least = points.iter().map(|point| point.hit_rate).fold(0.85, f64::min);
    // A point a little below its target must not lie on the axis.
    let least = ((least - 0.002) * 100.0).floor() / 100.0;
    let x = |rate: f64| panel.left + (rate - least) / (1.0 - least) * Panel::width();
    for percent in ((least * 100.0).round() as u32..=100).filter(|percent| percent % 3 == 0) {
        let at = x(f64::from(percent) / 100.0);
        svg.line((at, TOP), (at, HEIGHT - BOTTOM), GRID, 1.0);
        svg.text((at, HEIGHT - BOTTOM + 14.0), 10.0, Anchor::Middle, &format!("{percent} %"));
    }
    svg.text(
        (panel.left + Panel::width() / 2.0, HEIGHT - BOTTOM + 27.0),
        10.0,
        Anchor::Middle,
        "reads that hit",
    );
    for (at, system) in systems(points.iter().map(|point| point.system.as_str())).into_iter().enumerate() {
        let mut own: Vec<&HitPoint> = points.iter().filter(|point| point.system == system).collect();
        own.sort_by(|a, b| a.hit_rate.total_cmp(&b.hit_rate));
        let color = COLORS[at % COLORS.len()];
        let path: Vec<(f64, f64)> =
            own.iter().map(|point| (x(point.hit_rate), panel.y(point.rate))).collect();
        svg.path(&path, color);
        legend(svg, &panel, at, system, color);
    }
}

fn latencies(svg: &mut Svg, curves: &Curves) {
    let points = &curves.latencies;
    let least = points.iter().map(|point| point.p50_us).fold(f64::MAX, f64::min);
    let most = points.iter().map(|point| point.p99_us).fold(1.0, f64::max);
    let panel = Panel::logarithmic(1, least.min(most), most);
    panel.frame(svg, "Latency of hits and misses (tao13)", "µs, logarithmic");
    if points.is_empty() {
        return nothing(svg, &panel);
    }
    for (at, point) in points.iter().enumerate() {
        let bars = [(point.p50_us, COLORS[3]), (point.p99_us, COLORS[4])];
        panel.bars(svg, (at, points.len()), point.path, &bars);
    }
    // Each system has a hit and a miss, next to each other.
    let systems = systems(points.iter().map(|point| point.system.as_str()));
    for (at, system) in systems.iter().enumerate() {
        panel.below(svg, (at, systems.len()), 1, system);
    }
    legend(svg, &panel, 0, "p50", COLORS[3]);
    legend(svg, &panel, 1, "p99", COLORS[4]);
}

fn memory(svg: &mut Svg, curves: &Curves) {
    let points = &curves.memory;
    let most = points.iter().map(|point| point.bytes_per_edge).fold(0.0, f64::max);
    let panel = Panel::linear(2, most);
    panel.frame(svg, "Memory of a cached edge without data", "bytes");
    if points.is_empty() {
        return nothing(svg, &panel);
    }
    let mut lengths: Vec<u32> = points.iter().map(|point| point.list_edges).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let systems = systems(points.iter().map(|point| point.system.as_str()));
    for (at, length) in lengths.iter().enumerate() {
        let bars: Vec<(f64, &str)> = systems
            .iter()
            .enumerate()
            .filter_map(|(system_at, system)| {
                let own =
                    |point: &&super::MemoryPoint| point.list_edges == *length && point.system == *system;
                Some((points.iter().find(own)?.bytes_per_edge, COLORS[system_at % COLORS.len()]))
            })
            .collect();
        panel.bars(svg, (at, lengths.len()), &format!("lists of {length}"), &bars);
    }
    for (at, system) in systems.iter().enumerate() {
        legend(svg, &panel, at, system, COLORS[at % COLORS.len()]);
    }
}

fn legend(svg: &mut Svg, panel: &Panel, at: usize, name: &str, color: &str) {
    let (x, y) = (panel.left + (at % 2) as f64 * 150.0, HEIGHT - BOTTOM + 44.0 + (at / 2) as f64 * 12.0);
    svg.bar((x, y - 7.0), (8.0, 8.0), color);
    svg.text((x + 12.0, y), 9.0, Anchor::Start, name);
}

fn nothing(svg: &mut Svg, panel: &Panel) {
    svg.text((panel.left + Panel::width() / 2.0, HEIGHT / 2.0), 11.0, Anchor::Middle, "not measured");
}

/// Each once, in the order in which they first come.
fn systems<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut systems = Vec::new();
    for name in names {
        if !systems.contains(&name) {
            systems.push(name);
        }
    }
    systems
}

fn figure(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{:.1}M", value / 1e6),
        _ if value >= 1e4 => format!("{:.0}k", value / 1e3),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.0}"),
        _ if value >= 1.0 => format!("{value:.1}"),
        _ if value >= 0.005 => format!("{value:.2}"),
        _ => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::svg::is_well_formed;
    use super::super::{MemoryPoint, PathLatency};
    use super::*;

    fn curves() -> Curves {
        let hit = |system: &str, hit_rate, rate| HitPoint {
            system: system.to_owned(),
            target: hit_rate,
            hit_rate,
            rate,
            cache_bytes: 1,
        };
        let latency = |path, p50_us| PathLatency {
            system: "tier".to_owned(),
            path,
            reads: 10,
            p50_us,
            mean_us: p50_us,
            p99_us: p50_us * 10.0,
        };
        let memory = |system: &str, list_edges, bytes_per_edge| MemoryPoint {
            system: system.to_owned(),
            list_edges,
            bytes_per_edge,
        };
        Curves {
            hit_rates: vec![
                hit("tier", 0.86, 10_000.0),
                hit("tier", 0.99, 90_000.0),
                hit("a<b", 0.9, 5_000.0),
            ],
            latencies: vec![latency("hit", 60.0), latency("miss", 700.0)],
            memory: vec![memory("tier", 10, 18.0), memory("Redis", 10, 28.0), memory("tier", 1_000, 17.0)],
        }
    }

    #[test]
    fn the_plot_is_well_formed_with_and_without_figures() {
        for curves in [curves(), Curves::default()] {
            let text = plot(&curves, "seed 1 & more");
            assert!(is_well_formed(&text), "{text}");
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        let text = plot(&curves(), "");
        assert!(text.contains("lists of 1000") && text.contains(">miss</text>") && text.contains("a&lt;b"));
        assert_eq!(plot(&Curves::default(), "").matches("not measured").count(), 3);
    }

    #[test]
    fn lines_of_the_grid_are_round_numbers() {
        for (most, step, top) in [(90_000.0, 20_000.0, 100_000.0), (28.0, 10.0, 30.0), (0.3, 0.1, 0.4)] {
            let panel = Panel::linear(0, most);
            assert!(
                (panel.step - step).abs() < step / 1e3 && (panel.top_value - top).abs() < top / 1e3,
                "{most}"
            );
        }
    }

    #[test]
    fn more_is_higher() {
        let panel = Panel::linear(0, 100.0);
        assert!(panel.y(90.0) < panel.y(10.0) && panel.y(0.0) <= HEIGHT - BOTTOM);
        let panel = Panel::logarithmic(1, 20.0, 7_000.0);
        assert!(panel.y(5_000.0) < panel.y(50.0));
    }
}
