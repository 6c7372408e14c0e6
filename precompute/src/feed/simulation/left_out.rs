//! Each rule earns its place: without it some seed goes wrong.
//!
//! A test begins at a seed that is known to go wrong, and looks on from there if it does not any more, because what a seed
//! draws changes with the simulation.

use super::{
    super::rule::{Rule, Rules},
    run,
};

/// How many seeds are tried.
const TRIED: u64 = 400;

/// Without the rule one of the seeds from `seed` on has a problem that reads like this.
fn without(rule: Rule, seed: u64, problem: &str) {
    for seed in (0..TRIED).map(|more| seed + more) {
        let Some(found) = run(seed, Rules::without(rule)).problem else { continue };
        if found.contains(problem) {
            return;
        }
    }
    panic!("{TRIED} seeds from {seed} on go well without {rule:?}");
}

#[test]
fn without_epochs_that_are_times_readers_have_to_wait_for_who_began_later() {
    without(Rule::TimeEpoch, 1230, "began later");
}

#[test]
fn without_removing_a_poisoned_stream_nobody_writes_any_more() {
    without(Rule::Poison, 8, "0 leaders");
}

#[test]
fn without_fences_alone_creating_the_stream_snapshots_are_needed_after_it_was_emptied() {
    without(Rule::NoMkStream, 0, "needs a snapshot");
}

#[test]
fn without_reading_up_to_the_fence_those_who_read_it_cannot_go_on() {
    without(Rule::ReadUp, 0, "does not go on from");
}

#[test]
fn without_taking_over_what_is_stricter_a_revocation_in_the_stream_is_lost() {
    without(Rule::Absorb, 3, "leads without the revocation");
}

#[test]
fn without_stating_again_what_changed_a_lost_tail_costs_snapshots() {
    without(Rule::Restate, 0, "needs a snapshot");
}

#[test]
fn without_hashes_beside_records_others_lack_them() {
    without(Rule::Hash, 0, "lacks the hash");
}

#[test]
fn without_an_outbox_on_disk_a_crash_makes_books_differ_from_the_feed() {
    without(Rule::Outbox, 9, "has other records");
}

#[test]
fn without_asserting_the_manifest_nobody_can_join_after_it_was_lost() {
    without(Rule::AssertHead, 14, "nobody could join");
}

#[test]
fn without_looking_for_the_same_entry_a_lost_answer_ends_an_epoch() {
    without(Rule::SameBlob, 0, "begins anew although");
}

#[test]
fn without_undoing_what_was_not_told_a_standby_differs_for_good() {
    without(Rule::Undo, 14, "do not agree: W");
}

#[test]
fn without_submitting_debts_a_revocation_that_one_book_knows_is_lost() {
    without(Rule::Submit, 3, "has other records");
}

#[test]
fn without_looking_which_entry_a_standby_names_a_push_counts_that_it_does_not_have() {
    without(Rule::Confirm, 0, "and it is not");
}

#[test]
fn without_the_chain_readers_at_one_place_have_different_records() {
    without(Rule::Follow, 1, "has other records");
}

#[test]
fn without_waiting_a_lost_tail_takes_readers_back_at_once() {
    without(Rule::Wait, 1, "went back");
}

#[test]
fn without_yielding_a_reader_waits_for_ever_for_who_does_not_come_back() {
    without(Rule::Yield, 557, "is Waiting");
}

#[test]
fn without_final_revocations_that_stay_a_replica_un_revokes() {
    without(Rule::Sticky, 21, "un-revoked");
}

#[test]
fn without_passing_over_forgeries_they_stop_readers() {
    without(Rule::Forged, 2, "which nobody signed");
}

#[test]
fn without_digests_damaged_records_stay_damaged() {
    without(Rule::Digest, 203, "do not agree: R");
}

#[test]
fn without_the_clock_on_the_wall_a_replayed_stream_looks_fresh() {
    without(Rule::Current, 12, "fresh by a heartbeat of long ago");
}
