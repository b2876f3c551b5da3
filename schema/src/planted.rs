//! Planted bugs: faults that a test build can switch on, one at a time, to see whether the suite finds them.
//!
//! [`planted`] stands where a rule is kept; in a build without the feature `planted-bugs` it is a constant `false`, and
//! the compiler removes what hangs on it. With the feature, the environment variable [`VARIABLE`] names the bug of a
//! process and of all its children. `cargo xtask bugs` runs the suite against each.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A bug that can be planted, named after what goes wrong.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        #[non_exhaustive]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

bugs! {
    /// The reference's "drop invalidation": a follower skips every eighth change of its stream but counts it as applied.
    DropChange = "drop-change",
}

/// The environment variable that names the bug of this process.
pub const VARIABLE: &str = "TAO_PLANTED_BUG";

/// Whether `bug` is switched on in this process.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// Whether `bug` is switched on in this process.
#[cfg(feature = "planted-bugs")]
pub fn planted(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static NAMED: OnceLock<Option<Bug>> = OnceLock::new();
    let named = NAMED.get_or_init(|| {
        let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
        let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
        // A typing error must not pass for a suite that finds nothing.
        Some(bug.unwrap_or_else(|| panic!("{VARIABLE}={name}: no such bug")))
    });
    *named == Some(bug)
}
