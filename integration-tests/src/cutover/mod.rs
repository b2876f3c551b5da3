//! A model of CUTOVER, searched through: two host groups S and T, one shard, moves of it between them (R25, H29-H32).
//!
//! # What there is
//!
//! - Each host group has a primary with a shard row, and a replica that lacks any number of the last transactions, up to a
//!   bound, until somebody waits for it. A primary can be lost at any moment: the replica takes over with what it has and
//!   writes its row anew (R24). That it has everything is the lossless mode, and one of the cases.
//! - Two leaders, each with the topology that it last loaded. A write locks the row and looks at it (R2), and commits; or its
//!   connection goes after COMMIT was sent, the server decides alone, later, and the leader looks for the write, wherever it
//!   now believes the shard to be, and answers "acknowledged", "failed" or "unknown" (R4).
//! - Two workers. Each looks at the rows, decides, and does it later: a compare-and-set that may arrive when a later move is
//!   under way. The lease of a move is only a hint, so both act at will. Either may die at any step. A lost reply needs no
//!   step of its own: after everything that it does a worker looks again.
//! - Moves, one after the other. After an abort, another try with a new id, which keeps what was copied; after a commit, the
//!   reverse.
//! - A topology that only ever takes a compare-and-set, and loses nothing.
//!
//! # What a worker does
//!
//! | step | where | compares | changes | waits first for |
//! |---|---|---|---|---|
//! | INTENT | record | no open move | the move's id | |
//! | IMPORT | target | a lower move, not serving | `importing`, the id | |
//! | (apply) | target | `importing`, the id, the position | rows and position | |
//! | FENCE | source | `serving`, a lower move | `fenced`, the id, seq + 1 | the row's lock |
//! | COMMIT | target | `importing`, the id, the position is the fence's | `serving`, the fence's epoch + 1, seq + 1 | FENCE on the source's replicas |
//! | ABORT | target | `importing` and the id, or a lower move and not serving | `aborted`, the id | |
//! | UNFENCE | source | `fenced`, the id | `serving`, epoch + 2, seq + 1 | ABORT on the target's replicas, FENCE on the source's |
//! | MARK | source | `serving`, a lower move | the id | ABORT on the target's replicas |
//! | RELEASE | topology | a lower epoch | the group that serves and its epoch | that on the group's replicas |
//! | close | record | released; UNFENCE or MARK is done if aborted | closed | all of it on all replicas |
//!
//! "Replicas" are those that could be promoted. The position is (epoch, seq) of the source, and an applier that finds that the
//! source lost what it applied copies anew. A promotion opens an epoch for a row that serves, whatever the topology says,
//! and leaves all others as they are.
//!
//! # What is shown
//!
//! With all [rules](rules::Rule) on, no state within the bounds has two primaries that serve, one epoch opened in two ways
//! (openings that a promotion lost count: somebody may have read them in the log), two writes at one position, an owner
//! that lacks an acknowledged write which no promotion lost from where it was written, or one that has a write that failed
//! or was lost. And from every state the workers can end the move without waiting for a fault, with one owner that the
//! topology names: a move that nobody resumes leaves no doubt. Without any one of the rules the search finds a way to
//! something wrong; it goes breadth first, so the way is a shortest one.
//!
//! # What is not modelled
//!
//! A lost primary that still takes writes (R5, R24: it is shut, or lossless mode stops it), the loss of topology or record,
//! the copying of tables row by row (H31 is one comparison here), readers and caches, pairs, and time.

pub mod group;
mod leader;
mod mover;
mod promotion;
pub mod rules;
pub mod search;
pub mod state;
pub mod steps;
#[cfg(test)]
mod tests;
