//! A writer that is to resign, and stays because it could not hand over in time.

use super::*;

/// What the stream says, in order.
fn told(stream: &Memory) -> Vec<Body> {
    let (cluster, trusted) = (Cluster::new("memory").unwrap(), Trusted::quick(&[PublicKey([1; 32])]));
    let open = |raw: &Raw| Entry::open(raw.position, &raw.bytes, &cluster, &trusted).unwrap().entry.body;
    stream.entries.iter().map(open).collect()
}

fn has_resigned(stream: &Memory) -> bool {
    told(stream).iter().any(|body| matches!(body, Body::Resign(_)))
}

/// It leads, and no entry of it is under way.
fn leading() -> (Memory, One, u64) {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    let mut millis = one.lead(0, &mut stream);
    // Its first sign of life, and whatever else comes first.
    for _ in 0..50 {
        millis += 1;
        one.step(millis, &mut stream);
    }
    assert!(!one.machine.has_more());
    (stream, one, millis)
}

/// Commits a change, and says of which certificate.
fn change(one: &mut One, serial: u8) -> Serial {
    let change = held(serial.into());
    one.book.push((Issuer([1; 32]), change.serial), change);
    change.serial
}

const SUCCESSOR: Option<ServerId> = Some(ServerId::from_bytes([2; 16]));

/// It goes on in the same epoch, with signs of life and whatever changes.
#[track_caller]
fn goes_on(stream: &mut Memory, one: &mut One, millis: u64) {
    let epoch = stream.entries.last().unwrap().position.epoch;
    let serial = change(one, 7);
    for millis in (millis..millis + 5000).step_by(10) {
        one.step(millis, stream);
        assert_eq!(one.machine.role(), Role::Leading, "after {millis} ms");
    }
    let told = told(stream);
    assert!(!has_resigned(stream), "{told:?}");
    let beats = told.iter().filter(|body| matches!(body, Body::Heartbeat(_))).count();
    let is_pushed = |body: &Body| matches!(body, Body::Records(sections) if sections[0].changes[0].serial == serial);
    assert!(beats >= 5 && told.iter().any(is_pushed), "{told:?}");
    assert_eq!(stream.entries.last().unwrap().position.epoch, epoch);
}

#[test]
fn who_is_to_resign_and_has_not_begun_to_goes_on_if_it_is_to_stay() {
    let (mut stream, mut one, millis) = leading();
    one.machine.resign(SUCCESSOR);
    one.machine.stay();
    goes_on(&mut stream, &mut one, millis);
}

/// Redis had no room for it, say.
#[test]
fn a_resignation_that_was_not_written_is_given_up_by_who_stays() {
    let (mut stream, mut one, millis) = leading();
    stream.room = Some(stream.entries.len());
    one.machine.resign(SUCCESSOR);
    // It is prepared, and then refused once, which makes room for another attempt if anything can.
    for _ in 0..2 {
        one.step(millis, &mut stream);
        assert!(one.machine.has_more() && one.machine.role() == Role::Leading);
    }
    one.machine.stay();
    assert!(!one.machine.has_more());
    stream.room = None;
    goes_on(&mut stream, &mut one, millis);
}

#[test]
fn an_entry_of_something_else_that_is_under_way_is_written_by_who_stays() {
    let (mut stream, mut one, millis) = leading();
    change(&mut one, 9);
    one.step(millis, &mut stream);
    assert!(one.machine.has_more(), "it is prepared");
    one.machine.resign(SUCCESSOR);
    one.machine.stay();
    assert!(one.machine.has_more());
    one.step(millis, &mut stream);
    assert!(matches!(told(&stream).last(), Some(Body::Records(_))));
    goes_on(&mut stream, &mut one, millis);
}

#[test]
fn who_has_resigned_does_not_lead_by_being_told_to_stay() {
    let (mut stream, mut one, millis) = leading();
    one.machine.resign(SUCCESSOR);
    for _ in 0..2 {
        one.step(millis, &mut stream);
    }
    one.machine.stay();
    assert!(has_resigned(&stream) && one.machine.role() == Role::Following);
    // Whom it has named goes first.
    for millis in (millis..millis + 1000).step_by(10) {
        one.step(millis, &mut stream);
        assert_eq!(one.machine.role(), Role::Following, "after {millis} ms");
    }
}
