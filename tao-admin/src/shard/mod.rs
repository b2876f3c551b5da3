//! Moves of shards between host groups, while they are read and written (PROTOCOL R25, holes H29-H32; `docs/moves.md`).
//!
//! | file | is |
//! |---|---|
//! | `terms` | options, orders, notes: what is written down of a move |
//! | `step` | the named steps, and who is told of them |
//! | `error` | what a move ends with |
//! | `ground` | topology and servers, found and opened |
//! | `decide` | what is to be done, by the rows of both servers: pure |
//! | `worker`, `lease` | one worker: takes the lease, looks, decides, does, looks again |
//! | `preflight`, `room` | what must hold before a move begins |
//! | `stream` | copy and log from one server to the other |
//! | `gate`, `leaders` | what slows a copy down |
//! | `copying`, `verifying` | up to READY |
//! | `rehearsal` | how long a cutover would take |
//! | `cutover` | fence, drain, commit; and back |
//! | `release` | the topology learns who serves |
//! | `closing` | stream back, retirement, deletion |
//! | `status` | how a move is, for people and programs |
//! | `rebalance` | which moves make load even: pure |
//! | `batch` | many moves, a few at a time |
//!
//! What happened is read from the shard rows and `shard_move` of the two servers, each time anew; the book beside the topology
//! holds who works, what was ordered, and what people want to know. So any worker may go on where another ended, and one that
//! was replaced is refused by the servers.
//!
//! ```no_run
//! # async fn example(topology: tao_schema::topology::Topology) -> anyhow::Result<()> {
//! use tao_admin::shard::{Goal, MoveOptions, Mover, Quiet, Settings};
//! use tao_schema::ids::{HostGroupId, ShardId};
//!
//! let mover = Mover::open(topology, Settings::default()).await?;
//! mover.begin(ShardId(42), HostGroupId(2), Goal::There, MoveOptions::default()).await?;
//! let status = mover.run(ShardId(42), &Quiet).await?;
//! println!("writes waited for {:?} ms", status.notes.pause_ms);
//! # Ok(())
//! # }
//! ```

mod batch;
mod closing;
mod copying;
mod cutover;
mod decide;
mod error;
mod gate;
mod ground;
mod leaders;
mod lease;
mod mover;
mod preflight;
mod rebalance;
mod rehearsal;
mod release;
mod room;
mod status;
mod step;
mod stream;
mod terms;
#[cfg(test)]
mod tests;
mod verifying;
mod worker;

pub use self::batch::{Caps, move_all};
pub use self::error::{ErrorKind, MoveError};
pub use self::ground::Settings;
pub use self::mover::Mover;
pub use self::preflight::{Plan, PlanFinding};
pub use self::rebalance::{PlannedMove, Rebalance, rebalance};
pub use self::room::PlanRoom;
pub use self::status::{MoveStatus, Throttled};
pub use self::step::{Quiet, Step, Watch};
pub use self::terms::{Goal, MoveOptions, Notes, Orders, PauseParts, Without};
