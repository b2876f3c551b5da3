//! One move from its order to its end, whatever goes wrong: every error is followed by `tao shard resume`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tao_admin::shard::Step;

use super::hurt::{heal, hurt};
use super::order::{BEFORE_BACK, Lead, MoveFault, Order, Planned, lead};
use super::probes::Seen;
use super::settle::{Command, Way};
use super::sides::{compared, nothing_left, one_owner, sides};
use super::site::Site;
use super::tool::{Halt, Status};
use crate::scenarios::findings::Findings;
use crate::scenarios::liveness;
use crate::scenarios::meter::{Phase, Window};

/// Users and probes work so long before a move: what writes and reads take without one.
const BEFORE: Duration = Duration::from_secs(3);
/// A move must have come about so long after its last fault was over; a large shard takes longer, see [`limit`].
const LIMIT: Duration = Duration::from_secs(180);
/// What a copy is granted: a slow one, on a busy machine.
const ROWS_PER_SECOND: u64 = 1_000;
/// A worker that something else happens to stands still for so long.
const STANDS: Duration = Duration::from_millis(1_000);
/// How long that is held.
const HOLD: Duration = Duration::from_millis(2_500);
/// Tells when a cutover begins, in programs that were built so, without standing still.
const MARK: Option<Halt> = if cfg!(feature = "failpoints") {
    Some(Halt { step: Step::BeforeFence, time: Some(Duration::ZERO) })
} else {
    None
};
/// Time between the retirement of the old side and its deletion.
const GRACE: &str = "1s";

/// What became of one move.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MoveReport {
    /// The shard.
    pub shard: u16,
    /// Where it was.
    pub from: u16,
    /// Where it was to go.
    pub to: u16,
    /// What went wrong, and at which step of the worker.
    pub fault: Option<String>,
    /// Whether the worker came to that step.
    pub fault_happened: bool,
    /// `finished`, `reversed`, `aborted`, or `stuck`.
    pub outcome: &'static str,
    /// From the order to the end.
    pub seconds: f64,
    /// Of the copy.
    pub rows_copied: u64,
    /// Of the copy.
    pub bytes_copied: u64,
    /// Of the copy, throttled or not.
    pub rows_per_second: Option<f64>,
    /// By the mover, and past it.
    pub rows_compared: u64,
    /// Of those.
    pub rows_different: u64,
    /// A few of them.
    pub differences: Vec<String>,
    /// Of each change of the owner: there, and perhaps back.
    pub pauses: Vec<Pause>,
    /// What its workers came to.
    #[serde(flatten)]
    pub way: Way,
}

/// How long writes waited when the shard changed its owner. Milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pause {
    /// `there` or `back`.
    pub way: &'static str,
    /// What probes saw before the move.
    pub before: Seen,
    /// What they saw while rows were copied and compared.
    pub copying: Seen,
    /// What they saw from the cutover on, until the way back was open; with a fault, or if no failpoints are built in, from the
    /// order on.
    pub during: Seen,
    /// What the rehearsal foretold.
    pub predicted_ms: Option<f64>,
    /// What the worker measured.
    pub worker_ms: Option<f64>,
    /// Where that time went.
    pub parts: serde_json::Value,
}

/// A move on its way.
pub(super) struct Journey<'a> {
    pub(super) site: &'a mut Site,
    pub(super) findings: &'a mut Findings,
    pub(super) order: Order,
    pub(super) report: MoveReport,
    /// What probes saw up to the cutover, once the worker was there.
    copying: Option<Seen>,
}

impl<'a> Journey<'a> {
    pub(super) fn new(site: &'a mut Site, findings: &'a mut Findings, order: Order) -> Self {
        let fault = order.fault.map(|planned| format!("{} at {}", planned.fault, planned.step.name()));
        let report = MoveReport {
            shard: order.shard.0,
            from: order.from.0,
            to: order.to.0,
            fault,
            outcome: "stuck",
            ..MoveReport::default()
        };
        Self { site, findings, order, report, copying: None }
    }

    /// All of it. Users and probes are at work; with [`Order::still`] they rest at its end.
    ///
    /// # Errors
    /// It does not come about.
    pub(super) async fn travel(&mut self) -> Result<()> {
        let began = Instant::now();
        let travelled = self.legs().await;
        self.report.seconds = began.elapsed().as_secs_f64();
        travelled.with_context(|| format!("shard {}, {:?}", self.order.shard, self.report.fault))
    }

    async fn legs(&mut self) -> Result<()> {
        let (shard, to) = (self.order.shard.to_string(), self.order.to.to_string());
        let way = self.order.fault.map(|planned| lead(planned.step));
        let fault_of = |leg: Lead, order: &Order| order.fault.filter(|_| way == Some(leg));
        self.site.probes.work(self.order.shard);
        self.site.pass(BEFORE).await;
        let there = ["move", &shard, "--to", &to, "--grace", GRACE];
        let status = if way == Some(Lead::Rollback) {
            self.rolled_back(&there).await?
        } else {
            let planned = fault_of(Lead::There, &self.order);
            self.watched("there", &there, planned).await?
        };
        self.report.rows_copied = status.notes.rows_copied;
        self.report.bytes_copied = status.notes.bytes_copied;
        self.report.rows_per_second = status.rows_per_second;
        if status.over {
            self.report.outcome = "aborted";
            return Ok(());
        }
        self.verify().await?;
        let back_after = self.order.back_after.or((way == Some(Lead::Back)).then_some(BEFORE_BACK));
        if let Some(time) = back_after {
            self.site.pass(time).await;
            let planned = fault_of(Lead::Back, &self.order);
            self.watched("back", &["reverse", &shard, "--take-over"], planned).await?;
            self.verify().await?;
        }
        if self.order.still {
            self.stand_still().await?;
        }
        let end = ["finalize", &shard, "--take-over", "--grace", GRACE];
        let planned = fault_of(Lead::End, &self.order);
        let status = self.leg(&end, planned).await?;
        self.report.outcome = match (status.state.as_str(), status.serving == self.order.to) {
            ("FINALIZED", true) => "finished",
            ("FINALIZED", false) => "reversed",
            _ => bail!("shard {shard} is {} after finalize", status.state),
        };
        self.one_owner().await?;
        let left = nothing_left(&self.site.stage, self.order.shard, status.source).await?;
        self.findings.absorb(left, &self.site.progress);
        Ok(())
    }

    /// A change of the owner, with what probes see of it.
    async fn watched(
        &mut self,
        way: &'static str,
        args: &[&str],
        planned: Option<Planned>,
    ) -> Result<Status> {
        let before = (self.site.probes.lap(), self.site.baseline());
        let phase = planned.map_or("move".to_owned(), |planned| planned.fault.to_string());
        self.site.meter.enter(Phase::Fault(phase));
        let status = self.leg(args, planned).await;
        let status = status?;
        self.arrived(way, before, &status).await?;
        Ok(status)
    }

    /// A first worker dies with the source fenced; the second one takes that back, and comes to the step.
    async fn rolled_back(&mut self, there: &[&str]) -> Result<Status> {
        let planned = self.order.fault.context("a rollback has a fault")?;
        let step = Step::Drained;
        let before = (self.site.probes.lap(), self.site.baseline());
        self.site.meter.enter(Phase::Fault("rollback".to_owned()));
        let mut first = self.site.tool.start(there, Some(Halt { step, time: None }))?;
        let fenced = first.halted(step, self.limit()).await?;
        first.kill()?;
        if !fenced {
            bail!("the worker did not come to {}: {}", step.name(), first.last_words());
        }
        let shard = self.order.shard.to_string();
        let status = self.leg(&["resume", &shard, "--take-over"], Some(planned)).await;
        let status = status?;
        self.arrived("there", before, &status).await?;
        Ok(status)
    }

    /// The shard has another owner: one, whom the topology names; and users are served as before.
    async fn arrived(
        &mut self,
        way: &'static str,
        (before, baseline): (Seen, Window),
        status: &Status,
    ) -> Result<()> {
        let (healed, during) = (Instant::now(), self.site.probes.lap());
        self.report.pauses.push(Pause {
            way,
            before,
            copying: self.copying.take().unwrap_or_default(),
            during,
            predicted_ms: status.notes.predicted_ms,
            worker_ms: status.notes.pause_ms,
            parts: status.notes.pause.clone(),
        });
        self.one_owner().await?;
        self.site.meter.enter(Phase::Recovery);
        let recovery = liveness::recovery(&self.site.meter, healed, &baseline).await;
        let what = format!("the move of shard {} ({:?})", self.order.shard, self.report.fault);
        self.findings.absorb(liveness::judge(&recovery, &what, &baseline), &self.site.progress);
        self.site.meter.enter(Phase::Quiet);
        Ok(())
    }

    async fn one_owner(&mut self) -> Result<()> {
        let found = one_owner(&mut self.site.stage, self.order.shard).await?;
        self.findings.absorb(found, &self.site.progress);
        Ok(())
    }

    /// One command, with a fault at a step or none, and `resume` until what it ordered has come about.
    async fn leg(&mut self, args: &[&str], planned: Option<Planned>) -> Result<Status> {
        let before = self.site.tool.status(self.order.shard).await?.map(|status| status.id);
        let time = planned.and_then(|planned| (planned.fault != MoveFault::KillMover).then_some(STANDS));
        let halt = planned.map(|planned| Halt { step: planned.step, time }).or(MARK);
        let mut worker = self.site.tool.start(args, halt)?;
        if let Some(planned) = planned
            && worker.halted(planned.step, self.limit()).await?
        {
            self.report.fault_happened = true;
            let what = format!("{} at {}", planned.fault, planned.step.name());
            self.site.progress.say(&format!("shard {}: {what}", self.order.shard));
            if planned.fault == MoveFault::KillMover {
                worker.kill()?;
            } else {
                let injected = hurt(&mut self.site.stage, &self.order, planned.fault).await;
                let injected = injected.with_context(|| what.clone())?;
                self.site.pass(HOLD).await;
                heal(&mut self.site.stage, injected).await.context(what)?;
            }
        }
        let (limit, lap_at) = (self.limit(), MARK.filter(|_| planned.is_none()).map(|mark| mark.step));
        let (code, copying) = self.site.attend(&mut worker, limit, lap_at).await?;
        self.copying = copying;
        self.report.way.ended(code, &worker.last_words());
        self.tell();
        let command = Command { shard: self.order.shard, args, before, limit };
        let settled = self.site.tool.settle(command, code, &mut self.report.way).await;
        self.tell();
        settled
    }

    /// Both sides are compared by the mover while they are written.
    async fn verify(&mut self) -> Result<()> {
        let limit = self.limit();
        let compared = self.site.tool.verify(self.order.shard, limit, &mut self.report.way).await;
        self.tell();
        let notes = compared?.notes;
        self.compared(notes.rows_compared, notes.rows_different, &notes.differences);
        Ok(())
    }

    /// Nobody works any more; the window is judged, the stream back runs to its end, and both sides are compared past the mover.
    async fn stand_still(&mut self) -> Result<()> {
        self.site.judge(self.findings).await?;
        self.verify().await?;
        let status = self.site.tool.status(self.order.shard).await?.context("a move")?;
        let found = sides(&self.site.stage, self.order.shard, status.target, status.source).await?;
        self.compared(found.rows, found.different, &found.named);
        Ok(())
    }

    fn compared(&mut self, rows: u64, different: u64, named: &[String]) {
        self.report.rows_compared += rows;
        self.report.rows_different += different;
        self.report.differences.extend(named.iter().cloned());
        let found = compared(self.order.shard, rows, different, named);
        self.findings.absorb(found, &self.site.progress);
    }

    /// Says what workers ended with.
    fn tell(&mut self) {
        for words in self.report.way.words.drain(..) {
            self.site.progress.say(&format!("shard {}: {words}", self.order.shard));
        }
    }

    /// How long a leg may take.
    fn limit(&self) -> Duration {
        let rows =
            self.site.loaded.filter(|(shard, _)| *shard == self.order.shard).map_or(0, |(_, rows)| rows);
        LIMIT + Duration::from_secs(rows / ROWS_PER_SECOND)
    }
}
