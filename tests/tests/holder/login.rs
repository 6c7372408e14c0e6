//! One login for a process, and a wrong PIN tried once.

use ostia_tests::softhsm::PIN;
use precompute::sign::{Algorithm, FaultClass, Holder as _};

use crate::bench::{alone, refuses};

#[test]
fn all_sessions_of_all_signers_share_one_module_and_one_login_for_each_token() {
    alone(|bench| {
        let (a, again, b) = (bench.holder("a"), bench.holder("a"), bench.holder("b"));
        let sessions: Vec<_> = [&a, &a, &again, &b, &again, &b].map(|holder| bench.opens(holder)).into();
        assert_eq!(bench.calls("C_Initialize CKR_OK"), 1);
        assert_eq!((bench.calls("C_Login token=a"), bench.calls("C_Login token=b")), (1, 1));
        // One for each, and one that holds the login.
        assert_eq!((bench.calls("C_OpenSession token=a"), bench.calls("C_OpenSession token=b")), (5, 3));
        drop(sessions);
        assert_eq!((bench.calls("C_CloseSession token=a"), bench.calls("C_CloseSession token=b")), (4, 2));
        bench.opens(&a);
        assert_eq!((bench.calls("C_Login"), bench.calls("C_Logout"), bench.calls("C_Finalize")), (2, 0, 0));
    });
}

#[test]
fn a_wrong_pin_is_tried_once_whoever_asks_and_the_right_one_is_tried_then() {
    alone(|bench| {
        bench.write_pin("wrong");
        let (a, again, b) = (bench.holder("a"), bench.holder("a"), bench.holder("b"));
        let said = ["the token `a`", "C_Login says CKR_PIN_INCORRECT", "is not tried again", "pin"];
        for holder in [&a, &again, &a, &again] {
            let fault = refuses(holder, FaultClass::Locked, &said);
            assert!(!fault.message.contains("wrong"), "the PIN stands in: {fault}");
        }
        assert_eq!(bench.calls("C_Login token=a"), 1);
        refuses(&b, FaultClass::Locked, &["the token `b`", "CKR_PIN_INCORRECT"]);
        assert_eq!(bench.calls("C_Login token=b"), 1);
        // Mended.
        bench.write_pin(PIN);
        bench.opens(&a);
        bench.opens(&again);
        assert_eq!(bench.calls("C_Login token=a"), 2);
    });
}

#[test]
fn every_refusal_of_a_pin_is_final() {
    alone(|bench| {
        for (number, value) in [
            "CKR_PIN_INCORRECT",
            "CKR_PIN_LOCKED",
            "CKR_PIN_EXPIRED",
            "CKR_PIN_INVALID",
            "CKR_PIN_LEN_RANGE",
            "CKR_USER_PIN_NOT_INITIALIZED",
        ]
        .into_iter()
        .enumerate()
        {
            // Each time another PIN: the one before is not tried any more.
            bench.write_pin(&format!("{PIN}-{number}"));
            bench.order(&format!("C_Login token=a return={value}"));
            let holder = bench.holder("a");
            for _ in 0..3 {
                refuses(&holder, FaultClass::Locked, &["C_Login says", value, "is not tried again"]);
            }
            assert_eq!(bench.calls("C_Login token=a"), number + 1, "{value}");
        }
    });
}

#[test]
fn what_fails_at_a_login_and_is_not_the_pin_is_asked_again() {
    alone(|bench| {
        let holder = bench.holder("a");
        for (value, class) in [
            ("CKR_DEVICE_ERROR", FaultClass::Device),
            ("CKR_FUNCTION_FAILED", FaultClass::Throttle),
            ("CKR_SESSION_HANDLE_INVALID", FaultClass::Session),
        ] {
            bench.order(&format!("C_Login token=a return={value}"));
            refuses(&holder, class, &["C_Login says", value]);
        }
        bench.order("");
        bench.opens(&holder);
    });
}

#[test]
fn a_token_that_would_lock_itself_is_not_asked_for_a_login() {
    alone(|bench| {
        let holder = bench.holder("a");
        for (flag, said) in [
            ("CKF_USER_PIN_LOCKED", "has locked its user's PIN; unblock it"),
            ("CKF_USER_PIN_FINAL_TRY", "would lock itself after one more wrong PIN"),
        ] {
            bench.order(&format!("C_GetTokenInfo token=a flags={flag}"));
            refuses(&holder, FaultClass::Locked, &["the token `a`", said]);
        }
        assert_eq!(bench.calls("C_Login"), 0);
        // Mended at the token.
        bench.order("");
        bench.opens(&holder);
        // Logged in already: the flag says nothing to us any more.
        bench.order("C_GetTokenInfo token=a flags=CKF_USER_PIN_FINAL_TRY");
        bench.opens(&holder);
    });
}

#[test]
fn a_login_that_the_token_has_forgotten_is_made_again() {
    alone(|bench| {
        let holder = bench.holder("a");
        let mut session = bench.opens(&holder);
        // For all sessions of the process.
        bench.beside("a").logout().unwrap();
        assert_eq!(session.sign(b"message").unwrap_err().class, FaultClass::Session);
        drop(session);
        bench.opens(&holder);
        assert_eq!(bench.calls("C_Login token=a CKR_OK"), 2);
        // And the session that held it is gone, too.
        bench.beside("a").logout().unwrap();
        bench.order("C_GetSessionInfo token=a after=1 times=1 return=CKR_SESSION_HANDLE_INVALID");
        bench.opens(&holder);
        bench.opens(&holder);
        assert_eq!(bench.calls("C_Login token=a CKR_OK"), 3);
        // One that is gone as soon as it was opened is told, and the next one opens.
        bench.order("C_GetSessionInfo token=a times=1 return=CKR_SESSION_HANDLE_INVALID");
        refuses(&holder, FaultClass::Session, &["C_GetSessionInfo says CKR_SESSION_HANDLE_INVALID"]);
        bench.opens(&holder);
        assert_eq!(bench.calls("C_Login token=a CKR_OK"), 3);
    });
}

#[test]
fn a_token_that_wants_a_pin_and_gets_none_says_so() {
    alone(|bench| {
        let uri = format!("pkcs11:token=a;object=key?module-path={}", crate::bench::Bench::shim().display());
        let uri = precompute::sign::pkcs11::Uri::parse(&uri).unwrap();
        let certificate = bench.certificate("key");
        let holder = precompute::sign::Pkcs11Token::new(&uri, "/".as_ref(), &certificate, Algorithm::EcdsaP256Sha256);
        refuses(
            &holder.unwrap(),
            FaultClass::Defect,
            &["the token `a` needs a PIN, and none is named", "?pin-source="],
        );
        std::fs::remove_file(bench.pin_file()).unwrap();
        refuses(
            &bench.holder("a"),
            FaultClass::Defect,
            &["the PIN of the token `a`", "pin: cannot be read: No such file"],
        );
        assert_eq!(bench.calls("C_Login"), 0);
    });
}

#[test]
fn one_session_of_those_that_a_token_allows_is_kept_for_the_login() {
    alone(|bench| {
        let holder = bench.holder("a");
        assert_eq!(holder.sessions_max(), usize::MAX, "not asked yet");
        bench.opens(&holder);
        assert_eq!(holder.sessions_max(), usize::MAX, "SoftHSM has no bound");
        bench.order("C_GetTokenInfo token=a sessions=3");
        bench.opens(&holder);
        assert_eq!(holder.sessions_max(), 2);
        bench.order("C_GetTokenInfo token=a sessions=1");
        refuses(&holder, FaultClass::Defect, &["the token `a` allows 1 sessions, and two are needed"]);
    });
}
