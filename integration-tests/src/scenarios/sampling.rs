//! Memory and open files of every process over time, and whether they stay flat.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde::Serialize;

/// Samples of a process that are kept. When there are more, every other one goes and the rest stands for twice the time.
const KEPT: usize = 4_096;
/// The last quarter may be so much above the third one, as a part of it: allocators and buffer pools breathe.
const BREATH: f64 = 0.10;
/// And so much more in bytes: of small processes a tenth is nothing.
const ROOM_BYTES: f64 = (16 << 20) as f64;
/// And so many open files.
const ROOM_FILES: f64 = 16.0;
/// Fewer samples say nothing.
const LEAST: usize = 16;
/// Bytes of a page, as `/proc` counts memory.
const PAGE: u64 = 4_096;

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the run's start.
    pub at: Duration,
    /// Resident memory.
    pub bytes: u64,
    /// Open files and sockets.
    pub files: u64,
}

/// Samples of all processes of a run, by name: a process that was started again goes on under its name.
#[derive(Default)]
pub struct Samples {
    by_name: BTreeMap<String, Series>,
}

#[derive(Default)]
struct Series {
    samples: Vec<Sample>,
    /// Looks that are left out between two that are kept.
    skip: u32,
    skipped: u32,
    peak_bytes: u64,
    peak_files: u64,
}

/// What became of one process's memory and files.
#[derive(Clone, Debug, Serialize)]
pub struct Flatness {
    /// Looks at it.
    pub samples: usize,
    /// The most memory that it had, resident, in MiB.
    pub peak_mib: u64,
    /// The most files and sockets that it had open.
    pub peak_files: u64,
    /// Means of the quarters of the time, in MiB.
    pub quarters_mib: [f64; 4],
    /// Means of the quarters of the time.
    pub quarters_files: [f64; 4],
    /// Growth over the last half by a line through its samples, in MiB an hour.
    pub slope_mib_per_hour: f64,
    /// The last quarter is not above the third by more than a tenth and 16 MiB, or 16 files; `None`: too few samples to say.
    pub flat: Option<bool>,
}

impl Samples {
    /// Looks at processes: those that are gone are left out.
    pub fn take<'a>(&mut self, at: Duration, processes: impl IntoIterator<Item = (&'a str, u32)>) {
        for (name, pid) in processes {
            let (Some(bytes), Some(files)) = (resident(pid), open_files(pid)) else { continue };
            self.add(name, Sample { at, bytes, files });
        }
    }

    /// Adds a look that somebody else took.
    pub fn add(&mut self, name: &str, sample: Sample) {
        self.by_name.entry(name.to_owned()).or_default().add(sample);
    }

    /// What became of each.
    pub fn verdicts(&self) -> BTreeMap<String, Flatness> {
        self.by_name.iter().map(|(name, series)| (name.clone(), series.verdict())).collect()
    }

    /// Memory of all processes at their last looks, in MiB.
    pub fn total_mib(&self) -> u64 {
        self.by_name.values().filter_map(|series| series.samples.last()).map(|last| last.bytes).sum::<u64>()
            >> 20
    }
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.peak_bytes = self.peak_bytes.max(sample.bytes);
        self.peak_files = self.peak_files.max(sample.files);
        if self.skipped < self.skip {
            self.skipped += 1;
            return;
        }
        self.skipped = 0;
        self.samples.push(sample);
        if self.samples.len() >= KEPT {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.skip = self.skip * 2 + 1;
        }
    }

    fn verdict(&self) -> Flatness {
        let quarters = |of: fn(&Sample) -> f64| {
            let length = self.samples.len();
            [0, 1, 2, 3].map(|quarter| {
                let part = &self.samples[length * quarter / 4..length * (quarter + 1) / 4];
                part.iter().map(of).sum::<f64>() / part.len().max(1) as f64
            })
        };
        let bytes = quarters(|sample| sample.bytes as f64);
        let files = quarters(|sample| sample.files as f64);
        let within = |[_, _, third, last]: [f64; 4], room: f64| last <= third * (1.0 + BREATH) + room;
        let flat = within(bytes, ROOM_BYTES) && within(files, ROOM_FILES);
        Flatness {
            samples: self.samples.len(),
            peak_mib: self.peak_bytes >> 20,
            peak_files: self.peak_files,
            quarters_mib: bytes.map(|mean| mean / f64::from(1 << 20)),
            quarters_files: files,
            slope_mib_per_hour: slope(&self.samples[self.samples.len() / 2..]) * 3_600.0 / f64::from(1 << 20),
            flat: (self.samples.len() >= LEAST).then_some(flat),
        }
    }
}

/// Bytes a second, by least squares.
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean_at = samples.iter().map(|sample| sample.at.as_secs_f64()).sum::<f64>() / count;
    let mean_bytes = samples.iter().map(|sample| sample.bytes as f64).sum::<f64>() / count;
    let (mut above, mut below) = (0.0, 0.0);
    for sample in samples {
        let at = sample.at.as_secs_f64() - mean_at;
        above += at * (sample.bytes as f64 - mean_bytes);
        below += at * at;
    }
    if below == 0.0 { 0.0 } else { above / below }
}

fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

fn open_files(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}
