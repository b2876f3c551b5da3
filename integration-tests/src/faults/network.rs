//! The links of a cluster: one for each connecting place and address, with what is wrong with it at present.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use tao_server::wan::{Conditions, End, WanLink, WanOptions, Way};
use tokio::runtime::Runtime;

use super::{Flow, LinkFault, Place};
use crate::servers::resolve;

/// Threads that carry bytes: of their own, so that a test that blocks its threads does not slow the network.
const THREADS: usize = 2;

/// A fault of the network that is in force.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FaultId(u64);

/// All links of a cluster. What is wrong with a link is the sum of all faults in force that concern it.
pub struct Network {
    /// By who connects, and to whom.
    links: BTreeMap<(Place, Place), Link>,
    /// The region of each end.
    regions: BTreeMap<Place, String>,
    faults: Mutex<Faults>,
    seed: u64,
    runtime: Option<Runtime>,
}

struct Link {
    /// The address of the target, as the topology has it.
    address: String,
    wan: WanLink,
    /// Of a link with which nothing is wrong.
    latency: Duration,
}

#[derive(Default)]
struct Faults {
    last: u64,
    active: BTreeMap<FaultId, (Vec<Flow>, LinkFault)>,
}

impl Network {
    /// No links yet. `seed`: for what is left to chance in them.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn new(seed: u64) -> Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(THREADS).thread_name("links").enable_all().build()?;
        Ok(Self {
            links: BTreeMap::new(),
            regions: BTreeMap::new(),
            faults: Mutex::default(),
            seed,
            runtime: Some(runtime),
        })
    }

    /// Says in which region an end lies.
    pub fn place(&mut self, place: Place, region: &str) {
        self.regions.insert(place, region.to_owned());
    }

    /// Opens a link through which `from` reaches an address of `to`, unless there is one.
    ///
    /// # Errors
    /// The address is none, or nobody answers where its name is, or no port can be had.
    pub async fn open(&mut self, from: &Place, to: &Place, address: &str, latency: Duration) -> Result<()> {
        let key = (from.clone(), to.clone());
        if self.links.contains_key(&key) {
            return Ok(());
        }
        let target = resolve(address).await?;
        let number = (self.links.len() as u64) << 32;
        let options =
            WanOptions { seed: self.seed.wrapping_add(number), ..WanOptions::with_latency(latency) };
        let wan = self.runtime()?.spawn(WanLink::open(target, options)).await??;
        self.links.insert(key, Link { address: address.to_owned(), wan, latency });
        Ok(())
    }

    /// The threads of the network, for faults that need some.
    pub(crate) fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().context("the network is being taken down")
    }

    /// All ends, with their regions.
    pub fn places(&self) -> impl Iterator<Item = (&Place, &str)> {
        self.regions.iter().map(|(place, region)| (place, region.as_str()))
    }

    /// Who connects to whom through a link.
    pub fn links(&self) -> impl Iterator<Item = (&Place, &Place)> {
        self.links.keys().map(|(from, to)| (from, to))
    }

    /// The link itself, from who connects to the target.
    pub fn link(&self, from: &Place, to: &Place) -> Option<&WanLink> {
        self.links.get(&(from.clone(), to.clone())).map(|link| &link.wan)
    }

    /// Addresses as a place has to use them: that of the topology, and that of its link.
    pub fn seen_from(&self, from: &Place) -> impl Iterator<Item = (String, String)> {
        let own = self.links.iter().filter(move |((connects, _), _)| connects == from);
        own.map(|(_, link)| (link.address.clone(), link.wan.address().to_string()))
    }

    /// Where `from` connects to reach an address.
    pub fn seen_address(&self, from: &Place, address: &str) -> String {
        let link =
            self.links.iter().find(|((connects, _), link)| connects == from && link.address == address);
        link.map_or_else(|| address.to_owned(), |(_, link)| link.wan.address().to_string())
    }

    /// Lets a fault happen to everything that travels so, on connections that are open and on new ones. A reset happens
    /// once, everything else until [`Network::heal`].
    ///
    /// # Errors
    /// No link carries any of that.
    pub fn inject(&self, flows: &[Flow], fault: LinkFault) -> Result<FaultId> {
        let mut faults = self.faults.lock();
        let mut concerned = 0;
        for (ends, link) in &self.links {
            let ways: Vec<Way> =
                [Way::Out, Way::Back].into_iter().filter(|way| self.concerns(flows, ends, *way)).collect();
            concerned += ways.len();
            match (fault, ways.first()) {
                (LinkFault::Reset, Some(_)) => link.wan.reset(),
                // Who gets what travels is the one that is gone.
                (LinkFault::HalfOpen, Some(Way::Out)) => link.wan.lose(End::Far),
                (LinkFault::HalfOpen, Some(Way::Back)) => link.wan.lose(End::Near),
                _ => {}
            }
        }
        let flows_text = || flows.iter().map(Flow::to_string).collect::<Vec<_>>().join(", ");
        anyhow::ensure!(concerned > 0, "no link carries {}", flows_text());
        faults.last += 1;
        let id = FaultId(faults.last);
        faults.active.insert(id, (flows.to_vec(), fault));
        self.apply(&faults);
        Ok(id)
    }

    /// Ends a fault. Nothing happens if it is over.
    pub fn heal(&self, id: FaultId) {
        let mut faults = self.faults.lock();
        let Some((flows, fault)) = faults.active.remove(&id) else { return };
        self.apply(&faults);
        if fault == LinkFault::HalfOpen {
            for (ends, link) in &self.links {
                if [Way::Out, Way::Back].into_iter().any(|way| self.concerns(&flows, ends, way)) {
                    link.wan.answer_again();
                }
            }
        }
    }

    /// Ends all faults.
    pub fn heal_all(&self) {
        let ids: Vec<FaultId> = self.faults.lock().active.keys().copied().collect();
        ids.into_iter().for_each(|id| self.heal(id));
    }

    /// Whether any of the flows takes this direction of a link.
    fn concerns(&self, flows: &[Flow], (from, to): &(Place, Place), way: Way) -> bool {
        let (sender, receiver) = match way {
            Way::Out => (from, to),
            Way::Back => (to, from),
        };
        let region = |place| self.regions.get(place).map_or("", String::as_str);
        flows.iter().any(|flow| {
            flow.from.contains(sender, region(sender)) && flow.to.contains(receiver, region(receiver))
        })
    }

    /// Sets every link as the faults in force want it.
    fn apply(&self, faults: &Faults) {
        for (ends, link) in &self.links {
            for way in [Way::Out, Way::Back] {
                let mut now = Conditions { latency: link.latency, ..Conditions::default() };
                let of_way = faults.active.values().filter(|(flows, _)| self.concerns(flows, ends, way));
                of_way.for_each(|(_, fault)| add(&mut now, *fault));
                link.wan.set(way, now);
            }
        }
    }
}

/// Several at once: delays add up, of bandwidths the smallest holds.
fn add(conditions: &mut Conditions, fault: LinkFault) {
    let millis = Duration::from_millis;
    match fault {
        LinkFault::Cut => conditions.cut = true,
        LinkFault::Delay { latency_ms, jitter_ms } => {
            conditions.latency += millis(latency_ms);
            conditions.jitter += millis(jitter_ms);
        }
        LinkFault::Bandwidth { bytes_per_second } => {
            let limit = NonZeroU64::new(bytes_per_second).unwrap_or(NonZeroU64::MIN);
            let other = conditions.bytes_per_second.unwrap_or(limit);
            conditions.bytes_per_second = Some(limit.min(other));
        }
        LinkFault::SlowClose { delay_ms } => conditions.close_delay += millis(delay_ms),
        LinkFault::Reset | LinkFault::HalfOpen => {}
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.links.clear();
        if let Some(runtime) = self.runtime.take() {
            // Waiting for threads is not allowed where this may be dropped.
            runtime.shutdown_background();
        }
    }
}
