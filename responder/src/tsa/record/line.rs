//! The members of the record's lines.
//!
//! Invariant: between braces they are one JSON object without a line feed, whatever is in it. No I/O, no clock. It does not
//! know files.

use std::{fmt, fmt::Write as _};

use precompute::{
    journal::members::{Nullable, Text, Time},
    pki::hex::Hex,
};

use super::{Token, Transition};

/// Appends those of a token.
pub(super) fn push_token(members: &mut String, token: &Token) {
    let Token { serial, unix_nanos, imprint, origin, client, clock } = token;
    let client = Nullable(client.as_deref().map(Text));
    let (offset, uncertainty) = (Nullable(clock.map(|clock| clock.0)), Nullable(clock.map(|clock| clock.1)));
    push(
        members,
        format_args!(
            r#""type":"token","time":"{}","serial":"{}","imprint":"{}:{}","tenant":{},"policy":{},"key":{},"client":{client},"offset_ns":{offset},"uncertainty_ns":{uncertainty}"#,
            Time(*unix_nanos),
            Hex(serial),
            imprint.algorithm,
            Hex(imprint.hash()),
            Text(&origin.tenant),
            Text(&origin.policy),
            Text(&origin.key),
        ),
    );
}

/// Those of a change of trust in the clock.
pub(super) fn of_transition(transition: &Transition) -> String {
    let Transition { unix_nanos, source, accuracy, from, to, discipline, problem } = transition;
    let time = Time(u64::try_from(*unix_nanos).unwrap_or(0));
    let (source, problem) = (source.to_string(), Nullable(problem.as_deref().map(Text)));
    let (from, to) = (Text(Transition::label(*from)), Text(Transition::label(*to)));
    let offset = Nullable(discipline.map(|said| said.offset));
    let uncertainty = Nullable(discipline.map(|said| said.uncertainty));
    let (source, accuracy) = (Text(&source), accuracy.as_millis());
    let mut members = String::new();
    push(
        &mut members,
        format_args!(
            r#""type":"clock","time":"{time}","source":{source},"accuracy_ms":{accuracy},"from":{from},"to":{to},"offset_ns":{offset},"uncertainty_ns":{uncertainty},"problem":{problem}"#
        ),
    );
    members
}

fn push(members: &mut String, written: fmt::Arguments<'_>) {
    // Writing to a String never fails.
    let _ = members.write_fmt(written);
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use precompute::pki::hex;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{
        super::{Imprint, Origin},
        *,
    };
    use crate::tsa::clock::{ClockSource, Discipline, Leap, NotTrusted};

    proptest! {
        #[test]
        fn every_line_is_read_by_another_parser(
            (serial, unix_nanos) in (any::<[u8; 20]>(), any::<u64>()),
            hash in proptest::collection::vec(any::<u8>(), 0..=64),
            (tenant, policy, key) in (any::<String>(), any::<String>(), any::<String>()),
            client: Option<String>,
            clock: Option<(i64, u64)>,
        ) {
            let origin = Arc::new(Origin { tenant, policy, key });
            let imprint = Imprint::new("sha3-512", &hash);
            let mut lines = String::new();
            let named = client.as_deref().map(Arc::from);
            let token = Token { serial, unix_nanos, imprint, origin: Arc::clone(&origin), client: named, clock };
            push_token(&mut lines, &token);
            prop_assert!(!lines.contains('\n'));
            let mut read: Value = serde_json::from_str(&format!("{{{lines}}}")).unwrap();
            let time = read["time"].take();
            prop_assert_eq!(read, json!({
                "type": "token", "time": null, "serial": hex::text(&serial), "imprint": format!("sha3-512:{}", hex::text(&hash)),
                "tenant": origin.tenant, "policy": origin.policy, "key": origin.key, "client": client,
                "offset_ns": clock.map(|clock| clock.0), "uncertainty_ns": clock.map(|clock| clock.1),
            }));
            prop_assert!(time.as_str().is_some_and(|text| text.ends_with('Z') && !text.ends_with("0Z") || unix_nanos % 1_000_000_000 == 0));
        }
    }

    #[test]
    fn a_change_of_trust_says_what_was_known() {
        let transition = Transition {
            unix_nanos: 1_700_000_000_500_000_000,
            source: ClockSource::CHRONY,
            accuracy: Duration::from_secs(1),
            from: Ok(()),
            to: Err(NotTrusted::Silent),
            discipline: None,
            problem: Some("\"no\"\nanswer".into()),
        };
        let object =
            |transition| -> Value { serde_json::from_str(&format!("{{{}}}", of_transition(transition))).unwrap() };
        let read = object(&transition);
        let expected = json!({
            "type": "clock", "time": "2023-11-14T22:13:20.5Z", "source": "chrony", "accuracy_ms": 1000,
            "from": "trusted", "to": "silent", "offset_ns": null, "uncertainty_ns": null, "problem": "\"no\"\nanswer",
        });
        assert_eq!(read, expected);
        let discipline =
            Discipline { synchronised: true, offset: -5, uncertainty: 6, leap: Leap::None, measurement: None };
        let back =
            Transition { discipline: Some(discipline), problem: None, from: transition.to, to: Ok(()), ..transition };
        let read = object(&back);
        assert_eq!(
            (&read["from"], &read["offset_ns"], &read["uncertainty_ns"]),
            (&json!("silent"), &json!(-5), &json!(6))
        );
    }
}
