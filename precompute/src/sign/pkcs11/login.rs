//! Being logged in to a token: one login for the process, and a wrong PIN tried once.
//!
//! Invariant: C_Login is called with a PIN that this token refused never again, by whichever signer; C_Logout never.
//! The login session stays open for as long as the token lets it, because the last session's end is a logout.

use std::path::Path;

use cryptoki::{
    error::{Error, RvError},
    session::{Session, SessionState, UserType},
    slot::{Slot, TokenInfo},
    types::RawAuthPin,
};

use super::{
    fault::Failure,
    module::Inside,
    pin::{self, PinMark},
};
use crate::sign::{Fault, FaultClass};

/// What all signers of one token share.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The session that holds the login, with its generation.
    session: Option<(u64, Session)>,
    refused: Option<Refused>,
}

/// A PIN that the token refused.
#[derive(Debug)]
struct Refused {
    mark: PinMark,
    fault: Fault,
}

impl Login {
    /// Sees to it that the process is logged in to the token in `slot`, with the PIN in a file. `token` names it.
    pub(super) fn ensure(
        &mut self,
        inside: &Inside<'_>,
        slot: Slot,
        info: &TokenInfo,
        pin: Option<&Path>,
        token: &str,
    ) -> Result<(), Failure> {
        if self.holds(inside, token)? {
            return Ok(());
        }
        let Some(path) = pin else {
            if info.login_required() {
                return Err(Failure::defect(format!(
                    "{token} wants a PIN, and none is named; write it into a file that only the service may read, and add ?pin-source=/path/to/pin"
                )));
            }
            return Ok(());
        };
        let pin = pin::read(path).map_err(|error| Failure::defect(format!("the PIN of {token}: {error}")))?;
        let mark = PinMark::of(&pin);
        self.may_be_tried(&mark, info, path, token)?;
        if self.session.is_none() {
            let session = inside.context.open_ro_session_no_drop(slot).map_err(|error| Failure::of(token, &error))?;
            self.session = Some((inside.generation, session));
        }
        let Some((_, session)) = &self.session else { return Ok(()) };
        let given = RawAuthPin::new(Box::new(pin.to_vec()));
        match session.login_with_raw(UserType::User, &given) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let mut failure = Failure::of(token, &error);
                self.close();
                if failure.fault.class == FaultClass::Locked {
                    failure.fault.message += &format!(
                        " to the PIN in {}; it is not tried again: write the right PIN into that file and reload, or unblock the token and restart",
                        path.display()
                    );
                    self.refused = Some(Refused { mark, fault: failure.fault.clone() });
                }
                Err(failure)
            }
        }
    }

    /// Whether the login of before still holds.
    fn holds(&mut self, inside: &Inside<'_>, token: &str) -> Result<bool, Failure> {
        // Of another generation: the handle is nobody's, and closing it could hit another session.
        self.session.take_if(|(generation, _)| *generation != inside.generation);
        let Some((_, session)) = &self.session else { return Ok(false) };
        match session.get_session_info().map(|info| info.session_state()) {
            Ok(SessionState::RoUser | SessionState::RwUser) => Ok(true),
            // The token has forgotten the login and kept the session.
            Ok(_) => Ok(false),
            Err(error) => {
                self.session = None;
                let failure = Failure::of(token, &error);
                // A session that is gone is replaced; a token that is gone is not.
                if failure.fault.class == FaultClass::Session { Ok(false) } else { Err(failure) }
            }
        }
    }

    /// A PIN is not tried twice where it was wrong once, nor where the token would lock itself.
    fn may_be_tried(&self, mark: &PinMark, info: &TokenInfo, path: &Path, token: &str) -> Result<(), Failure> {
        if let Some(refused) = &self.refused
            && refused.mark == *mark
        {
            return Err(refused.fault.clone().into());
        }
        let problem = if info.user_pin_locked() {
            "has locked its user's PIN; unblock it as its security officer".to_owned()
        } else if info.user_pin_final_try() {
            format!(
                "would lock itself at one more wrong PIN, so that the one in {} is not tried; log in to it with another program to make sure that the PIN is right, then start again",
                path.display()
            )
        } else {
            return Ok(());
        };
        Err(Fault::new(FaultClass::Locked, format!("{token} {problem}")).into())
    }

    fn close(&mut self) {
        if let Some((_, session)) = self.session.take() {
            let _ = session.close();
        }
    }
}
