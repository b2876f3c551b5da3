//! Looks at a cluster in which nobody works: `tao check --deep` in every region, as a judgement.

use std::time::Duration;

use anyhow::Result;

use crate::history::{Judgement, judge_check};
use crate::regions::Regions;

/// What a region may take to come to the present when nobody writes and nothing is wrong any more.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Waits until every region has come to the present, then compares all caches with their databases, counts with lists, and
/// edges with inverses.
///
/// # Errors
/// The regions don't come to the present, or can't be asked.
pub async fn check(cluster: &Regions) -> Result<Judgement> {
    cluster.caught_up(CATCH_UP).await?;
    let mut judgement = Judgement::default();
    for (region, report) in cluster.check_all().await? {
        let mut found = judge_check(&report);
        found
            .violations
            .iter_mut()
            .for_each(|violation| violation.message.insert_str(0, &format!("{region}: ")));
        judgement.absorb(found);
    }
    Ok(judgement)
}
