//! Values as bytes. What may be used of them is tested with a key, beside misses.

use super::*;

const VALUE: Value<'_> = Value {
    said: 0x0102_0304_0506_0708,
    signed_at: UnixTime(1_800_000_000),
    next_update: UnixTime(1_800_345_600),
    packed: &[7; 64],
};

#[test]
fn a_value_reads_back_and_nothing_of_another_length_or_version_does() {
    let written = VALUE.write().unwrap();
    assert_eq!((written.len(), Value::read(&written, 64)), (HEAD + 64, Some(VALUE)));
    for end in 0..written.len() {
        assert_eq!(Value::read(&written[..end], 64), None, "cut after {end}");
    }
    assert_eq!(Value::read(&[&written[..], &[0]].concat(), 64), None, "a byte too many");
    assert_eq!(Value::read(&written, 256), None, "of another algorithm");
    for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
        assert_eq!(Value::read(&[&[version], &written[1..]].concat(), 64), None);
    }
    assert_eq!(Value { next_update: UnixTime(1 << 32), ..VALUE }.write(), None);
}
