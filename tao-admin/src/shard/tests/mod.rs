//! Moves between real servers, each wherever a worker may have died.

mod bad_input;
mod bench;
mod crashes;
mod failovers;
mod losses;
mod ways;
