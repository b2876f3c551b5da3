//! `tao load`: real edge lists through the SDK.

mod edge_list;
mod run;
mod verify;

pub use edge_list::{Format, Source};
pub use run::{LoadReport, Loader};
