//! Holders that hand out wrong signatures; [`Bench::next`] verifies each that left.

use super::*;

const VERIFY: [Verify; 2] = [Verify::All, Verify::Sample];

#[test]
fn a_signature_that_does_not_verify_never_leaves() {
    for verify in VERIFY {
        let bench = Bench::with(2, |settings| settings.verify = verify);
        bench.order(0, &[], Order::Lie);
        bench.order(1, &[Order::Gate], Order::Sign);
        for number in 0..50 {
            bench.submit(&number.to_string(), Priority::Live, LONG);
        }
        bench.until("it is away", |status| status.members[0].health != Health::AtWork);
        bench.gates[1].send(()).unwrap();
        for _ in 0..50 {
            assert_eq!(bench.next().1, Ok(()), "{verify:?}");
        }
        assert!(bench.pool().status().members[0].why.as_ref().unwrap().contains("its signature"));
        assert!(bench.pool().status().members[0].failed > 0);
    }
}

/// A token that signed well for long and then did not: the first signatures of each session and one in 256 were verified,
/// and what was wrong between two of those left, was stored, and came back after a restart.
#[test]
fn one_that_turns_to_wrong_signatures_after_many_right_ones_gets_none_of_them_out() {
    for priority in [Priority::Live, Priority::Refresh, Priority::Once, Priority::Bulk] {
        let bench = Bench::new(2, 2, 1000);
        let right = [Order::Sign; 40];
        bench.order(0, &[&right[..], &[Order::Lie; 3], &right, &[Order::Lie]].concat(), Order::Sign);
        bench.order(1, &[Order::Gate; 2], Order::Sign);
        for number in 0..600 {
            bench.submit(&number.to_string(), priority, LONG);
        }
        bench.until("a wrong one is met", |status| status.members[0].failed > 0);
        (0..2).for_each(|_| bench.gates[1].send(()).unwrap());
        for _ in 0..600 {
            assert_eq!(bench.next().1, Ok(()), "another signs it");
        }
    }
    // Without another holder, waiting jobs are refused.
    let bench = Bench::new(1, 1, 1000);
    bench.order(0, &[Order::Sign; 20], Order::Lie);
    let told: Vec<_> = (0..21).map(|number| bench.sign(&number.to_string()).is_ok()).collect();
    assert_eq!(told, [[true; 20].as_slice(), &[false]].concat());
    assert!(matches!(bench.health(0), Health::Away(_)));
}

#[test]
fn a_wrong_one_among_those_drawn_as_a_sample_takes_its_holder_from_work() {
    let bench = Bench::with(2, |settings| (settings.verify, settings.primary_first) = (Verify::Sample, true));
    let drawn = limits::VERIFIED_ONE_OF as usize - 1;
    bench.order(0, &vec![Order::Sign; drawn], Order::Lie);
    for number in 0..drawn + 2 {
        assert_eq!(bench.sign(&number.to_string()), Ok(()));
    }
    assert!(matches!(bench.health(0), Health::Away(_)));
    assert_eq!(bench.asked(1).len(), 2);
}

#[test]
fn every_signature_of_a_token_is_verified_unless_a_sample_is_wanted_and_by_rsa_even_then() {
    for algorithm in Algorithm::ALL {
        let is_rsa = matches!(algorithm, Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256);
        assert!(Verify::default().every(algorithm, true));
        assert_eq!(Verify::Sample.every(algorithm, true), is_rsa, "{algorithm}");
        assert!(VERIFY.iter().all(|verify| !verify.every(algorithm, false)), "in this process");
    }
}
