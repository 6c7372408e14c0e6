//! The login to a token: one for the process, and a wrong PIN is tried once.
//!
//! Invariant: C_Login is never called again with a PIN that this token refused, by any signer; C_Logout is never
//! called. The login session stays open as long as the token allows, because the end of the last session is a logout.
//! One thread at a time logs in; a thread that finds the process logged in does not wait. It does not know keys.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cryptoki::{
    error::{Error, RvError},
    session::{Session, SessionState, UserType},
    slot::{Slot, TokenInfo},
    types::RawAuthPin,
};

use super::{
    fault::Failure,
    gate::Turns,
    module::Inside,
    pin::{self, PinMark},
};
use crate::{
    limits,
    sign::{Fault, FaultClass},
};

/// What all signers of one token share.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// Replaced if the present one hangs in the library.
    login_slot: Mutex<Arc<LoginSlot>>,
    known: Mutex<Known>,
}

/// The token to be used.
pub(super) struct LoginContext<'a> {
    pub(super) inside: &'a Inside<'a>,
    pub(super) slot: Slot,
    pub(super) info: &'a TokenInfo,
    /// The token's name in messages.
    pub(super) token: &'a str,
}

/// Lets one thread at a time log in.
#[derive(Debug)]
struct LoginSlot {
    /// The session that holds the login, with its generation.
    session: Turns<Option<(u64, Session)>>,
    /// The PIN that was sent to the token, while there is no reply yet.
    given: Mutex<Option<PinMark>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The module generation in which the process is logged in, as last seen; 0: none.
    generation: u64,
    refused: Option<Refused>,
    /// The PIN of the last successful login.
    accepted: Option<PinMark>,
}

/// A PIN that the token refused.
#[derive(Debug)]
struct Refused {
    mark: PinMark,
    fault: Fault,
}

impl Default for LoginSlot {
    fn default() -> Self {
        Self { session: Turns::new(None), given: Mutex::default() }
    }
}

impl LoginSlot {
    fn given(&self) -> MutexGuard<'_, Option<PinMark>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Login {
    /// This lock is never held during a call to the library.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn login_slot(&self) -> MutexGuard<'_, Arc<LoginSlot>> {
        self.login_slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the process is logged in, as a newly opened session shows. If not, the caller has to call
    /// [`ensure`](Self::ensure) again.
    pub(super) fn holds(&self, context: &LoginContext<'_>, session: &Session) -> Result<bool, Failure> {
        let info = session.get_session_info().map_err(|error| Failure::of(context.token, &error))?;
        let holds = is_users(info.session_state());
        let known = &mut *self.known();
        if !holds && known.generation == context.inside.generation {
            known.generation = 0;
        }
        Ok(holds)
    }

    /// Makes sure that the process is logged in, with the PIN in a file.
    pub(super) fn ensure(&self, context: &LoginContext<'_>, pin: Option<&Path>) -> Result<(), Failure> {
        let (generation, token) = (context.inside.generation, context.token);
        let is_known = || self.known().generation == generation;
        if is_known() {
            return Ok(());
        }
        let Some(path) = pin else {
            if context.info.login_required() {
                return Err(Failure::defect(format!(
                    "{token} needs a PIN, and none is named; write it into a file that only the service may read, and add ?pin-source=/path/to/pin"
                )));
            }
            return Ok(());
        };
        loop {
            let login_slot = Arc::clone(&self.login_slot());
            if let Some(mut session) = login_slot.session.take(limits::TOKEN_TURN_WAIT) {
                if is_known() {
                    return Ok(());
                }
                self.log_in(&login_slot, &mut session, context, path)?;
                self.known().generation = generation;
                return Ok(());
            }
            // A repeat is harmless if no PIN was sent yet, or the right one was.
            let is_harmless =
                login_slot.given().as_ref().is_none_or(|given| self.known().accepted.as_ref() == Some(given));
            if !is_harmless {
                let message = format!(
                    "{token}: the login does not return, and the PIN is not tried again since it may be wrong; restart the service once the token answers"
                );
                return Err(Fault::new(FaultClass::Device, message).into());
            }
            let now = &mut *self.login_slot();
            if Arc::ptr_eq(now, &login_slot) {
                *now = Arc::default();
            }
        }
    }

    /// Closes the login session, if it is of this generation; the next user logs in again. To be called inside. Does
    /// nothing if another thread hangs in its login.
    pub(super) fn leave(&self, generation: u64) {
        let login_slot = Arc::clone(&self.login_slot());
        let Some(mut held) = login_slot.session.take(Duration::ZERO) else { return };
        self.known().generation = 0;
        if let Some((_, session)) = held.take_if(|(of, _)| *of == generation) {
            let _ = session.close();
        }
    }

    /// `held`: the login session, if there is one.
    fn log_in(
        &self,
        login_slot: &LoginSlot,
        held: &mut Option<(u64, Session)>,
        context: &LoginContext<'_>,
        path: &Path,
    ) -> Result<(), Failure> {
        let LoginContext { inside, slot, info, token } = *context;
        if still_holds(held, inside, token)? {
            return Ok(());
        }
        let pin = pin::read(path).map_err(|error| Failure::defect(format!("the PIN of {token}: {error}")))?;
        let mark = PinMark::of(&pin);
        self.may_be_tried(&mark, info, path, token)?;
        let (_, session) = match held {
            Some(held) => held,
            None => {
                let opened = inside.context.open_ro_session_no_drop(slot);
                held.insert((inside.generation, opened.map_err(|error| Failure::of(token, &error))?))
            }
        };
        let given = RawAuthPin::new(Box::new(pin.to_vec()));
        *login_slot.given() = Some(mark.clone());
        let answer = session.login_with_raw(UserType::User, &given);
        *login_slot.given() = None;
        match answer {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                self.known().accepted = Some(mark);
                Ok(())
            }
            Err(error) => {
                let mut failure = Failure::of(token, &error);
                if let Some((_, session)) = held.take() {
                    let _ = session.close();
                }
                if failure.fault.class == FaultClass::Locked {
                    let remedy = remedy(&error);
                    failure.fault.message +=
                        &format!(" to the PIN in {}; it is not tried again: {remedy}", path.display());
                    let known = &mut *self.known();
                    known.refused = Some(Refused { mark, fault: failure.fault.clone() });
                    known.accepted = None;
                }
                Err(failure)
            }
        }
    }

    /// Refuses a PIN that was wrong once, and any PIN if a wrong one would lock the token.
    fn may_be_tried(&self, mark: &PinMark, info: &TokenInfo, path: &Path, token: &str) -> Result<(), Failure> {
        if let Some(refused) = &self.known().refused
            && refused.mark == *mark
        {
            return Err(refused.fault.clone().into());
        }
        let problem = if info.user_pin_locked() {
            "has locked its user's PIN; unblock it as its security officer".to_owned()
        } else if info.user_pin_final_try() {
            format!(
                "would lock itself after one more wrong PIN, so the one in {} is not tried; log in with another program to make sure that the PIN is right, then start again",
                path.display()
            )
        } else {
            return Ok(());
        };
        Err(Fault::new(FaultClass::Locked, format!("{token} {problem}")).into())
    }
}

/// Whether the earlier login still holds, as its session shows.
fn still_holds(held: &mut Option<(u64, Session)>, inside: &Inside<'_>, token: &str) -> Result<bool, Failure> {
    // From another generation: the handle is void, and closing it could close another session.
    held.take_if(|(generation, _)| *generation != inside.generation);
    let Some((_, session)) = held else { return Ok(false) };
    match session.get_session_info() {
        // Otherwise the token has forgotten the login and kept the session.
        Ok(info) => Ok(is_users(info.session_state())),
        Err(error) => {
            *held = None;
            let failure = Failure::of(token, &error);
            // A lost session is replaced; a lost token is not.
            if failure.fault.class == FaultClass::Session { Ok(false) } else { Err(failure) }
        }
    }
}

/// What to do about a PIN that was refused.
fn remedy(error: &Error) -> &'static str {
    match error {
        Error::Pkcs11(RvError::UserPinNotInitialized, _) => {
            "the token's user has no PIN yet; have its security officer set one, such as by pkcs11-tool --login --login-type so --init-pin, write it into that file and reload"
        }
        Error::Pkcs11(RvError::PinExpired | RvError::NewPinMode, _) => {
            "the PIN has expired; set another with the token's own tools, write it into that file and reload"
        }
        Error::Pkcs11(RvError::PinLocked, _) => {
            "the PIN is locked after wrong ones; unblock the token as its security officer, write the right PIN into that file and restart"
        }
        Error::Pkcs11(RvError::PinLenRange | RvError::PinInvalid, _) => {
            "it is too short, too long, or has characters that the token does not accept; write the right PIN into that file and reload"
        }
        _ => "write the right PIN into that file and reload, or unblock the token and restart",
    }
}

fn is_users(state: SessionState) -> bool {
    matches!(state, SessionState::RoUser | SessionState::RwUser)
}
