//! What each return value means, wherever it comes; and that a session after it works where it should.

use std::{sync::mpsc, thread, time::Duration};

use ostia_tests::until;
use precompute::sign::{FaultClass, Holder as _};

use crate::bench::{alone, refuses};

/// The table of the signing agreement.
const TABLE: [(FaultClass, &[&str]); 5] = [
    (
        FaultClass::Session,
        &[
            "CKR_SESSION_HANDLE_INVALID",
            "CKR_SESSION_CLOSED",
            "CKR_OPERATION_ACTIVE",
            "CKR_USER_NOT_LOGGED_IN",
            "CKR_KEY_HANDLE_INVALID",
            "CKR_OBJECT_HANDLE_INVALID",
        ],
    ),
    (FaultClass::Throttle, &["CKR_FUNCTION_FAILED", "CKR_SESSION_COUNT", "CKR_HOST_MEMORY"]),
    (
        FaultClass::Device,
        &[
            "CKR_DEVICE_ERROR",
            "CKR_DEVICE_REMOVED",
            "CKR_TOKEN_NOT_PRESENT",
            "CKR_TOKEN_NOT_RECOGNIZED",
            "CKR_GENERAL_ERROR",
            "CKR_CRYPTOKI_NOT_INITIALIZED",
            "CKR_DEVICE_MEMORY",
        ],
    ),
    (FaultClass::Locked, &["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED"]),
    (FaultClass::Defect, &["CKR_MECHANISM_INVALID", "CKR_KEY_TYPE_INCONSISTENT", "CKR_DATA_LEN_RANGE"]),
];

#[test]
fn every_return_value_of_a_signature_has_its_class() {
    alone(|bench| {
        let holder = bench.holder("a");
        for (class, values) in TABLE {
            for value in values {
                for function in ["C_SignInit", "C_Sign"] {
                    let mut session = bench.opens(&holder);
                    bench.order(&format!("{function} token=a times=1 return={value}"));
                    let fault = session.sign(b"message").unwrap_err();
                    assert_eq!(fault.class, class, "{fault}");
                    assert_eq!(fault.message, format!("the token `a`: {function} says {value}"));
                    bench.order("");
                }
            }
        }
        // It was opened, not opened again: none of these reaches for the module.
        assert_eq!((bench.calls("C_Initialize"), bench.calls("C_Finalize")), (1, 0));
        assert_eq!((bench.calls("C_Login token=a"), bench.calls("C_Logout")), (1, 0));
    });
}

#[test]
fn every_return_value_of_opening_has_its_class_and_the_next_attempt_succeeds() {
    alone(|bench| {
        let holder = bench.holder("a");
        bench.opens(&holder);
        for (class, values) in TABLE {
            for value in values {
                for function in [
                    "C_OpenSession",
                    "C_FindObjectsInit",
                    "C_FindObjects",
                    "C_GetAttributeValue",
                    "C_SignInit",
                    "C_Sign",
                ] {
                    bench.order(&format!("{function} token=a return={value}"));
                    refuses(&holder, class, &["the token `a`", function, value]);
                    bench.order("");
                    bench.opens(&holder);
                }
            }
        }
        // Each session that was opened in vain has been closed, and each that was dropped.
        assert_eq!(bench.calls("C_OpenSession token=a CKR_OK") - 1, bench.calls("C_CloseSession token=a CKR_OK"));
        assert_eq!(bench.calls("C_Initialize"), 1);
    });
}

#[test]
fn a_module_that_could_not_be_initialised_is_asked_again_at_the_next_opening() {
    alone(|bench| {
        let holder = bench.holder("a");
        bench.order("C_Initialize times=2 return=CKR_GENERAL_ERROR");
        for _ in 0..2 {
            refuses(&holder, FaultClass::Device, &["the PKCS#11 module", "C_Initialize says CKR_GENERAL_ERROR"]);
        }
        bench.opens(&holder);
        assert_eq!((bench.calls("C_Initialize"), bench.calls("C_Finalize")), (3, 0));
    });
}

#[test]
fn a_token_that_does_not_tell_who_it_is_hides_no_other() {
    alone(|bench| {
        let (a, b, absent) = (bench.holder("a"), bench.holder("b"), bench.holder("absent"));
        bench.order("C_GetTokenInfo token=b return=CKR_DEVICE_REMOVED");
        bench.opens(&a);
        // Either may be the one.
        refuses(&b, FaultClass::Device, &["in slot", "C_GetTokenInfo says CKR_DEVICE_REMOVED"]);
        refuses(&absent, FaultClass::Device, &["in slot", "C_GetTokenInfo says CKR_DEVICE_REMOVED"]);
        // As p11-kit's proxy does while one of its servers is down.
        bench.order("C_GetSlotList return=CKR_DEVICE_ERROR");
        bench.opens(&a);
        refuses(&b, FaultClass::Device, &["the PKCS#11 module", "C_GetSlotList says CKR_DEVICE_ERROR"]);
    });
}

#[test]
fn a_module_is_not_initialised_anew_before_its_time() {
    alone(|bench| {
        let (a, b) = (bench.holder("a"), bench.holder("b"));
        let mut session = bench.opens(&b);
        bench.order("C_OpenSession token=a return=CKR_DEVICE_REMOVED");
        for _ in 0..20 {
            refuses(&a, FaultClass::Device, &["C_OpenSession says CKR_DEVICE_REMOVED"]);
        }
        session.sign(b"message").unwrap();
        assert_eq!((bench.calls("C_Initialize"), bench.calls("C_Finalize")), (1, 0));
    });
}

#[test]
fn what_a_vendor_defines_is_a_fault_of_the_device() {
    alone(|bench| {
        let holder = bench.holder("a");
        let mut session = bench.opens(&holder);
        bench.order("C_Sign return=0x80000105");
        assert_eq!(session.sign(b"message").unwrap_err().class, FaultClass::Device);
    });
}

#[test]
fn a_signature_after_a_failed_one_takes_another_session_and_succeeds() {
    alone(|bench| {
        let holder = bench.holder("a");
        let mut session = bench.opens(&holder);
        // Begun and not ended: what follows in this session is refused by the token itself.
        bench.order("C_Sign times=1 return=CKR_FUNCTION_FAILED");
        assert_eq!(session.sign(b"message").unwrap_err().class, FaultClass::Throttle);
        let fault = session.sign(b"message").unwrap_err();
        assert_eq!(
            (fault.class, fault.message.as_str()),
            (FaultClass::Session, "the token `a`: C_SignInit says CKR_OPERATION_ACTIVE")
        );
        drop(session);
        bench.opens(&holder);
    });
}

#[test]
fn a_session_whose_handle_is_no_more_is_not_closed() {
    alone(|bench| {
        let holder = bench.holder("a");
        let mut session = bench.opens(&holder);
        bench.order("C_SignInit times=1 return=CKR_SESSION_HANDLE_INVALID");
        assert_eq!(session.sign(b"message").unwrap_err().class, FaultClass::Session);
        // The handle could be another session's by now.
        assert_eq!(session.sign(b"message").unwrap_err().class, FaultClass::Session);
        drop(session);
        assert_eq!(bench.calls("C_CloseSession"), 0);
    });
}

#[test]
fn a_token_that_hangs_stops_no_other_token_of_its_module() {
    alone(|bench| {
        let (a, b) = (bench.holder("a"), bench.holder("b"));
        let (mut on_a, mut on_b) = (bench.opens(&a), bench.opens(&b));
        bench.order("C_Sign token=a hang");
        let (send, signed) = mpsc::channel();
        let thread = thread::spawn(move || send.send(on_a.sign(b"message")));
        until("the signature hangs", Duration::from_secs(30), || {
            (bench.calls("C_Sign token=a hangs") > 0).then_some(())
        });
        on_b.sign(b"message").unwrap();
        bench.opens(&b);
        assert!(signed.try_recv().is_err());
        bench.order("");
        signed.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
        thread.join().unwrap().unwrap();
    });
}

#[test]
fn a_token_that_signs_wrongly_is_refused_at_its_opening() {
    alone(|bench| {
        let holder = bench.holder("a");
        bench.order("C_Sign token=a corrupt");
        refuses(&holder, FaultClass::Defect, &["the key `object=key` on the token `a`", "does not sign correctly"]);
        bench.order("");
        bench.opens(&holder);
        assert!(holder.open().is_ok());
    });
}
