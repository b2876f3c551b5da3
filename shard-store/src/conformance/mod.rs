//! One suite for every engine: each case shows a sentence of the documentation of
//! [`ShardStore`](crate::ShardStore) or of [`ServerLog`], or closes a hole that PROTOCOL names (the cases that begin with `h`).
//!
//! A test makes a [`Factory`] for its engine and calls [`assert_all`]. Cases use only shards of their own, so that a
//! factory may hand out one database again and again.

mod bench;
mod lists;
mod log;
mod moves;
mod moves_bench;
mod moves_cutover;
mod moves_promoted;
mod objects;
mod oracle;
mod pairs;
mod pairs_drain;
mod random;
mod random_ops;
mod reads;
mod replay;
mod requests;
mod tail;
mod tail_places;
mod upkeep;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tao_schema::ids::ShardId;

pub use bench::Bench;
pub use moves::{MoveFactory, assert_moves};
pub use moves_bench::End;
pub use moves_promoted::{Promotions, Side, assert_promoted_moves};

use crate::log::ServerLog;
use crate::store::{SharedStore, StoreError};

/// Two leaders on one database, a primary.
pub struct Handles {
    /// The one.
    pub one: SharedStore,
    /// The other: shares no memory with the one, so that it knows only what the database holds.
    pub other: SharedStore,
    /// A third, for the log.
    pub log: Arc<dyn ServerLog>,
}

/// Opens stores for the suite.
#[async_trait]
pub trait Factory: Send + Sync {
    /// Two new handles on one database, which has a schema and no row of any shard in `shards`. No two calls name the
    /// same shard: the database may be the same every time.
    async fn open(&self, shards: &[ShardId]) -> Result<Handles, StoreError>;
}

/// What a case found: nothing wrong, or what.
pub type Verdict = Result<(), Failure>;
/// Why a case failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A case.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    run: for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>,
}

macro_rules! cases {
    ($($module:ident: $($name:ident)+;)+) => {
        /// All cases.
        pub const CASES: &[Case] = &[
            $($(Case { name: stringify!($name), run: |bench| Box::pin($module::$name(bench)) },)+)+
        ];
    };
}

cases! {
    log:
        each_write_takes_the_next_seq
        a_batch_has_one_seq_for_each_shard
        what_changes_nothing_does_not_advance
        h1_units_of_a_wrong_epoch_or_state_leave_the_batch
        a_shard_without_a_row_is_not_owned
        h2_batches_in_any_order_of_shards_all_commit
        h7_two_leaders_write_one_log
        a_refused_unit_leaves_no_trace
        an_atomic_unit_is_all_or_nothing
        a_change_shows_each_row_once
        a_key_of_another_shard_is_refused;
    requests:
        h5_a_retry_has_one_effect
        h5_a_retry_through_another_leader_has_one_effect
        h5_a_retried_precondition_reports_its_success
        h5_two_attempts_in_one_batch_have_one_effect
        h6_a_retried_object_add_gets_the_first_id
        a_retry_that_comes_too_late_is_refused
        a_replayed_pair_names_both_shards
        a_refused_request_may_succeed_later;
    objects:
        objects_are_added_updated_and_deleted
        an_update_touches_a_subset
        object_preconditions_hold
        the_object_limit_holds_after_a_merge
        h6_allocated_ids_never_repeat
        object_data_comes_back_byte_for_byte;
    lists:
        counts_are_exact
        h13_a_list_that_was_emptied_keeps_its_version
        each_list_change_names_the_version_before
        two_writes_to_one_list_make_one_change
        list_preconditions_hold
        an_edge_changes_its_type
        a_retyped_edge_overwrites_its_target
        the_edge_limit_holds
        edge_data_comes_back_byte_for_byte;
    reads:
        a_list_is_newest_first_with_ties_by_id
        extremes_of_ids_and_times_keep_their_order
        a_slice_honours_bounds_and_position
        a_long_list_is_read_by_its_prefix
        absence_is_an_answer
        h12_a_snapshot_names_the_position_of_its_content
        a_key_without_a_shard_fails_alone;
    pairs:
        a_pair_is_written_together
        a_pair_on_one_shard_needs_no_outbox
        a_pair_apart_leaves_one_outbox_row
        a_pair_of_another_epoch_goes_through_the_outbox
        h28_a_write_together_overtakes_the_outbox
        h28_an_edge_to_itself
        h28_states_of_one_batch_end_as_the_last
        h28_a_pair_begun_together_ends_together
        a_retyped_pair_moves_on_both_sides;
    pairs_drain:
        h26_old_news_is_not_applied
        h26_a_pair_added_again_after_a_deletion
        h26_a_newer_epoch_is_newer
        h26_a_direct_write_is_remembered
        the_outbox_row_goes_only_with_its_own_state
        a_deletion_of_nothing_waits_for_what_is_pending
        h26_a_deletion_before_its_addition;
    upkeep:
        creating_shards_again_changes_nothing
        rows_of_some_shards_are_as_those_of_all
        a_state_changes_by_compare_and_set
        a_fenced_shard_can_be_read
        every_table_is_scanned_in_pages
        the_outbox_is_read_in_pages
        what_is_kept_for_a_time_is_purged;
    random:
        random_batches_of_two_leaders_match_an_oracle;
    tail:
        the_log_tells_what_the_writers_were_told
        states_are_told_as_far_as_they_matter
        a_new_shard_is_an_epoch_and_no_change
        h9_a_survey_with_a_nonce_shows_everything_before_it
        a_topology_is_stored_by_compare_and_set
        a_server_that_serves_has_no_fatal_finding;
    tail_places:
        a_tail_goes_on_exactly_where_another_ended
        r17_a_tail_starts_in_the_past
        a_position_that_the_server_never_had_is_lost
        a_call_that_is_given_up_loses_nothing;
}

/// Runs every case; answers what each found, by name.
pub async fn all(factory: &dyn Factory) -> Vec<(&'static str, Verdict)> {
    let mut verdicts = Vec::with_capacity(CASES.len());
    for (index, case) in CASES.iter().enumerate() {
        verdicts.push((case.name, run(factory, index, case).await));
    }
    verdicts
}

/// Runs every case and panics with the names of those that failed, and why.
///
/// # Panics
/// If a case failed.
pub async fn assert_all(factory: &dyn Factory) {
    let failed: Vec<_> = all(factory)
        .await
        .into_iter()
        .filter_map(|(name, verdict)| verdict.err().map(|failure| format!("{name}: {failure}")))
        .collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), CASES.len(), failed.join("\n"));
}

/// Runs the random case with a given seed, on the shards 0 to 3.
///
/// # Panics
/// If the run fails; the message repeats the seed.
pub async fn assert_random(factory: &dyn Factory, seed: u64) {
    let shards = [0, 1, 2, 3].map(ShardId);
    let run = async {
        let bench = Bench::new(factory.open(&shards).await?, shards).await?;
        random::run(&bench, seed).await.map(|_| ())
    };
    if let Err(failure) = run.await {
        panic!("{failure}");
    }
}

async fn run(factory: &dyn Factory, index: usize, case: &Case) -> Verdict {
    // Low and high shards: ids with the top bit set must order as unsigned numbers do.
    let low = 2 * index as u16;
    let shards = [low, low + 1, 0x8000 + low, u16::MAX - low].map(ShardId);
    let handles = factory.open(&shards).await?;
    let bench = Bench::new(handles, shards).await?;
    (case.run)(&bench).await
}
