//! The named steps of a move: each is a place at which a worker may die.

use anyhow::Result;
use async_trait::async_trait;

use super::status::MoveStatus;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A place in a move, told just before what follows is done.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            /// All of them, in the order in which a move that is reversed passes them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

steps! {
    /// The move is written down; nothing was done.
    Planned = "planned",
    /// The target's row reads `importing`.
    Importing = "importing",
    /// Before each chunk is imported.
    Chunk = "chunk",
    /// Everything is copied.
    Copied = "copied",
    /// Before the two sides are compared.
    Verifying = "verifying",
    /// They were found equal.
    Ready = "ready",
    /// INTENT is noted; the fence comes next.
    BeforeFence = "before-fence",
    /// The source is fenced: writes wait.
    AfterFence = "after-fence",
    /// Every replica of the source that could be promoted has the fence (H30).
    FenceReplicated = "fence-replicated",
    /// The target has everything up to the fence.
    Drained = "drained",
    /// The commit comes next.
    BeforeCommit = "before-commit",
    /// The target serves.
    AfterCommit = "after-commit",
    /// Every replica of the target that could be promoted has the commit.
    CommitReplicated = "commit-replicated",
    /// Before the topology names whoever serves.
    BeforeRelease = "before-release",
    /// It does: writes go on.
    AfterRelease = "after-release",
    /// Before the source becomes the target of a stream back.
    BeforeBeginReverse = "before-begin-reverse",
    /// It follows.
    AfterBeginReverse = "after-begin-reverse",
    /// A move is turned round: the book says so, the servers do not know yet.
    Turned = "turned",
    /// Rollback: before the target is told that the move is aborted.
    BeforeAbort = "before-abort",
    /// It reads `aborted`.
    AfterAbort = "after-abort",
    /// Every replica of the target that could be promoted has that.
    AbortReplicated = "abort-replicated",
    /// Before the source is opened again.
    BeforeUnfence = "before-unfence",
    /// It serves, in another epoch.
    AfterUnfence = "after-unfence",
    /// Before the side that does not serve is given up for good.
    Retire = "retire",
    /// Before each piece is deleted.
    Delete = "delete",
    /// Before the move is closed in the book.
    Close = "close",
}

/// Who watches a worker.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Told of every step before what follows it. An error ends the work there, as a crash would; the call may take its time.
    async fn step(&self, _step: Step) -> Result<()> {
        Ok(())
    }

    /// How the move is, a few times a second.
    fn progress(&self, _status: &MoveStatus) {}
}

/// Watches nothing.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Watch for Quiet {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Step;

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Step::ALL.iter().map(|step| step.name()).collect();
        assert_eq!(names.len(), Step::ALL.len());
    }
}
