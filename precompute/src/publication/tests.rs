use std::time::Duration;

use super::*;
use crate::limits;

const HOUR: Duration = Duration::from_secs(3600);

fn crl(scope: u8, place: usize, content: &str) -> AcceptedCrl {
    AcceptedCrl {
        scope: CrlScope([scope; 32]),
        is_delta: false,
        place,
        url: None,
        this_update: UnixTime(1000),
        next_update: Some(UnixTime(5000)),
        der: content.as_bytes().into(),
    }
}

fn delta(scope: u8, place: usize, content: &str) -> AcceptedCrl {
    AcceptedCrl { is_delta: true, ..crl(scope, place, content) }
}

fn at(url: &str, of: AcceptedCrl) -> AcceptedCrl {
    AcceptedCrl { url: Some(url.into()), ..of }
}

/// What is served, by suffix.
fn served(publication: &Publication) -> Vec<(String, String)> {
    let crls = publication.crls();
    let served = crls.iter().map(|crl| (crl.suffix.clone(), String::from_utf8(crl.document.octets.to_vec()).unwrap()));
    let mut served: Vec<_> = served.collect();
    served.sort();
    served
}

fn expect(publication: &Publication, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(suffix, content)| (suffix.to_string(), content.to_string())).collect();
    assert_eq!(served(publication), expected);
}

#[test]
fn each_crl_has_a_name_of_its_own() {
    let publication = Publication::default();
    expect(&publication, &[]);
    publication.take(
        vec![
            crl(0, 3, "whole"),
            delta(0, 3, "delta"),
            at("http://a/x/7.crl", crl(1, 0, "seven")),
            at("http://b/7.crl", crl(2, 1, "other seven")),
            at("http://b/8.crl", crl(3, 2, "eight")),
            at("http://b/8+.crl", delta(3, 2, "delta of eight")),
            crl(4, 4, "unnamed"),
        ],
        true,
    );
    expect(
        &publication,
        &[
            ("", "whole"),
            ("+", "delta"),
            ("~01010101", "seven"),
            ("~02020202", "other seven"),
            ("~04040404", "unnamed"),
            ("~8", "eight"),
            ("~8+", "delta of eight"),
        ],
    );
}

#[test]
fn without_a_crl_of_everything_the_first_of_the_first_file_has_the_plain_name() {
    let publication = Publication::default();
    publication.take(vec![crl(2, 1, "second"), crl(3, 0, "first"), delta(3, 0, "its delta")], true);
    expect(&publication, &[("", "first"), ("+", "its delta"), ("~02020202", "second")]);
}

/// A shard was served under the name of the complete CRL while that one's file could not be read.
#[test]
fn while_a_crl_is_refused_no_other_one_gets_its_name() {
    let publication = Publication::default();
    publication.take(vec![crl(3, 0, "a shard")], false);
    expect(&publication, &[("~03030303", "a shard")]);
    publication.take(vec![crl(0, 1, "whole"), crl(3, 0, "a shard")], true);
    expect(&publication, &[("", "whole"), ("~03030303", "a shard")]);
    publication.take(vec![crl(3, 0, "its next")], false);
    expect(&publication, &[("", "whole"), ("~03030303", "its next")]);
}

#[test]
fn what_was_accepted_last_stays_while_a_file_is_refused_and_goes_with_its_source() {
    let publication = Publication::default();
    publication.take(vec![crl(0, 0, "one"), delta(0, 0, "its delta")], true);
    publication.take(vec![crl(0, 0, "two")], false);
    expect(&publication, &[("", "two"), ("+", "its delta")]);
    publication.take(Vec::new(), false);
    expect(&publication, &[("", "two"), ("+", "its delta")]);
    publication.take(vec![crl(0, 0, "two")], true);
    expect(&publication, &[("", "two")]);
    publication.take(Vec::new(), true);
    expect(&publication, &[]);
}

#[test]
fn a_crl_that_is_read_again_is_the_same_document() {
    let publication = Publication::default();
    let take = |content: &str, this_update| {
        publication.take(vec![AcceptedCrl { this_update: UnixTime(this_update), ..crl(0, 0, content) }], true);
        Arc::clone(&publication.crls()[0].document)
    };
    let first = take("one", 1000);
    assert!(Arc::ptr_eq(&first, &take("one", 1000)) && first.is_dated);
    let second = take("two", 1000);
    assert!(second.etag != first.etag && !second.is_dated, "two within a second");
    assert!(Arc::ptr_eq(&second, &take("two", 1000)) && take("three", 1001).is_dated);
    assert_eq!(first.etag, Document::new("one").etag);
}

/// After a restart nobody knew that there had been two, and who had the former one was told that nothing had changed.
#[test]
fn the_date_of_a_crl_is_told_once_no_other_one_of_its_second_comes() {
    let issued = UnixTime(1000);
    let document = Document::new("x").modified_at(issued);
    for (now, told) in [(900, false), (1000, false), (1059, false), (1060, true), (u64::MAX, true)] {
        assert_eq!(document.date(UnixTime(now)), told.then_some(issued), "{now}");
    }
    assert_eq!(Document::new("x").date(UnixTime(2000)), None);
}

#[test]
fn caches_keep_a_document_until_the_next_one_and_no_longer_than_they_may() {
    let document = |until| Document { until, ..Document::new("x") };
    let year = 365 * 24 * HOUR;
    let end = Some(UnixTime(10_000));
    for (until, most, now, expected) in [
        (end, year, 4000, Duration::from_secs(6000)),
        (end, HOUR, 4000, HOUR),
        (end, year, 9_999, Duration::from_secs(1)),
        (end, year, 10_000, Duration::ZERO),
        (end, HOUR, 20_000, Duration::ZERO),
        (None, year, 4000, limits::UNDATED_MAX_AGE),
        (None, Duration::from_secs(60), 4000, Duration::from_secs(60)),
    ] {
        assert_eq!(document(until).max_age(most, UnixTime(now)), expected);
    }
}
