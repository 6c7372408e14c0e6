//! What one token of a module does to the others, and one session to those beside it: nothing, where it is gone or hangs.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ostia_tests::until;
use precompute::sign::{FaultClass, Holder as _};

use crate::bench::{Bench, alone, refuses};

const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn until_called(bench: &Bench, call: &str) {
    until(call, PATIENCE, || (bench.calls(call) > 0).then_some(()));
}

/// Ends what hangs, also where the test has failed: else nobody would hear of it.
struct Mends<'b>(&'b Bench);

impl Drop for Mends<'_> {
    fn drop(&mut self) {
        self.0.order("");
    }
}

#[test]
fn a_module_is_not_initialised_anew_for_an_absent_token_while_another_signs() {
    alone(|bench| {
        let (absent, gone, b) = (bench.holder("absent"), bench.holder("a"), bench.holder("b"));
        bench.opens(&gone);
        bench.order("C_OpenSession token=a return=CKR_TOKEN_NOT_PRESENT");
        let begin = Instant::now();
        // What to do is told once it is known that the other has signed after they were lost.
        let mut remedy = "";
        // So seldom that no session is open in between, and for longer than an idle module is left as it is.
        while begin.elapsed() < Duration::from_secs(6) {
            bench.opens(&b);
            refuses(&absent, FaultClass::Device, &["has no token with token=absent", remedy]);
            refuses(&gone, FaultClass::Device, &["CKR_TOKEN_NOT_PRESENT", remedy]);
            remedy = "which is not done while its token `b` signs: restart the service, or give each token a library of its own";
            thread::sleep(Duration::from_millis(500));
        }
        assert_eq!((bench.calls("C_Initialize"), bench.calls("C_Finalize")), (1, 0));
        assert_eq!(bench.calls("C_Login token=b"), 1);
    });
}

/// It counted as one that signs for two seconds after it was gone, so that its signer waited for itself, and the log
/// told of another token that there was not.
#[test]
fn a_module_is_initialised_anew_at_once_for_the_only_token_that_has_signed() {
    alone(|bench| {
        let token = bench.holder("a");
        let mut session = bench.opens(&token);
        let begin = Instant::now();
        // So that the module has been left as it is for long enough.
        while begin.elapsed() < Duration::from_secs(3) {
            session.sign(b"message").unwrap();
            thread::sleep(Duration::from_millis(50));
        }
        let gone = "return=CKR_DEVICE_REMOVED";
        bench.order(&format!("C_SignInit {gone}\nC_OpenSession {gone}"));
        assert_eq!(session.sign(b"message").unwrap_err().class, FaultClass::Device);
        drop(session);
        let lost = Instant::now();
        for _ in 0..2 {
            let fault = token.open().map(drop).unwrap_err();
            assert!(fault.message.contains("CKR_DEVICE_REMOVED"), "{fault}");
            assert!(!fault.message.contains("restart the service"), "{fault}");
        }
        // Two seconds later it would be done in any case.
        assert!(lost.elapsed() < Duration::from_millis(1900), "{:?}", lost.elapsed());
        assert_eq!(bench.calls("C_Initialize CKR_OK"), 2);
        bench.order("");
        bench.opens(&token);
    });
}

#[test]
fn who_waits_for_a_module_that_is_initialised_anew_hears_of_no_fault_of_his_token() {
    alone(|bench| {
        let (a, b) = (bench.holder("a"), bench.holder("b"));
        bench.opens(&a);
        let mut on_b = bench.opens(&b);
        bench.order(
            "C_SignInit return=CKR_DEVICE_REMOVED\nC_OpenSession return=CKR_DEVICE_REMOVED\nC_Initialize times=1 hang",
        );
        assert_eq!(on_b.sign(b"message").unwrap_err().class, FaultClass::Device);
        drop(on_b);
        thread::scope(|scope| {
            let _mends = Mends(bench);
            scope.spawn(|| until("it is back", PATIENCE, || a.open().ok()));
            until_called(bench, "C_Initialize hangs");
            refuses(&b, FaultClass::Session, &["the PKCS#11 module", "is being initialised anew"]);
        });
        bench.opens(&b);
        assert_eq!(bench.calls("C_Initialize CKR_OK"), 2);
    });
}

#[test]
fn a_session_that_never_opens_keeps_no_other_from_opening() {
    alone(|bench| {
        let (holder, other) = (bench.holder("a"), bench.holder("a"));
        let mut before = bench.opens(&holder);
        for call in ["C_OpenSession", "C_FindObjectsInit", "C_SignInit", "C_GetSessionInfo"] {
            bench.order(&format!("{call} token=a times=1 hang"));
            thread::scope(|scope| {
                let mends = Mends(bench);
                let (send, opened) = mpsc::channel();
                let hangs = bench.holder("a");
                scope.spawn(move || send.send(hangs.open().is_ok()));
                until_called(bench, &format!("{call} token=a hangs"));
                let begin = Instant::now();
                bench.opens(&holder);
                bench.opens(&other);
                before.sign(b"message").unwrap();
                assert!(begin.elapsed() < Duration::from_secs(15), "{call}: {:?}", begin.elapsed());
                assert!(opened.try_recv().is_err(), "{call}");
                drop(mends);
                assert!(opened.recv_timeout(PATIENCE).unwrap(), "{call}");
            });
        }
        assert_eq!(bench.calls("C_Login token=a"), 1);
    });
}

#[test]
fn a_login_that_never_returns_is_made_again_only_with_a_pin_that_was_right_before() {
    alone(|bench| {
        let holder = |token: &str| bench.holder(token);
        // Used to the end, so that the logins are not left in between.
        let hangs = ["a", "b"].map(holder);
        bench.opens(&hangs[0]);
        bench.beside("a").logout().unwrap();
        bench.order("C_Login token=a times=1 hang\nC_Login token=b times=1 hang");
        thread::scope(|scope| {
            let _mends = Mends(bench);
            for (token, hangs) in ["a", "b"].into_iter().zip(&hangs) {
                scope.spawn(move || hangs.open().map(drop));
                until_called(bench, &format!("C_Login token={token} hangs"));
            }
            // It may be wrong, and the token lock itself.
            scope.spawn(|| refuses(&holder("b"), FaultClass::Device, &["`b`", "the login does not return"]));
            bench.opens(&holder("a"));
            assert_eq!(bench.calls("C_Login token=b CKR_OK"), 0);
            let begin = Instant::now();
            bench.opens(&holder("a"));
            assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
        });
        bench.opens(&holder("b"));
        assert_eq!(bench.calls("C_Login token=b"), 2, "that it hangs, and that it ended");
    });
}
