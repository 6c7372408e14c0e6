//! What a token's return values mean: one table from PKCS#11 to [`FaultClass`].
//!
//! Invariant: every return value has its class, by name; only values that vendors define use a default. Pure.

use cryptoki::{
    context::Function,
    error::{Error, RvError},
};

use crate::sign::{Fault, FaultClass};

/// Why something on a token failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// For the caller.
    pub(super) fault: Fault,
    /// Whether the module may have lost its connection to the token: initialising it again can help.
    pub(super) lost: bool,
}

impl Failure {
    /// An error from the token; `asked` names the request.
    pub(super) fn of(asked: impl std::fmt::Display, error: &Error) -> Self {
        Self { fault: fault(asked, error), lost: is_curable_anew(error) }
    }

    /// The same failure, named after a larger request.
    pub(super) fn told(self, asked: &str) -> Self {
        let message = format!("{asked}: {}", self.fault.message);
        Self { fault: Fault { message, ..self.fault }, ..self }
    }

    /// A fault that only another configuration removes.
    pub(super) fn defect(message: impl Into<String>) -> Self {
        Fault::new(FaultClass::Defect, message).into()
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, lost: false }
    }
}

/// The fault of a token or module; `asked` names it, such as "the token a".
pub(super) fn fault(asked: impl std::fmt::Display, error: &Error) -> Fault {
    Fault::new(class_of(error), format!("{asked}: {}", Said(error)))
}

/// What to do about an error.
fn class_of(error: &Error) -> FaultClass {
    match error {
        Error::Pkcs11(value, _) => class_of_value(*value),
        // The module is not a proper one, or lacks the function.
        Error::LibraryLoading(_) | Error::MissingSymbol(_) | Error::NullFunctionPointer | Error::NotSupported => {
            FaultClass::Defect
        }
        Error::PinNotSet | Error::NulError(_) => FaultClass::Defect,
        // The reply makes no sense: as good as broken.
        Error::TryFromInt(_) | Error::TryFromSlice(_) | Error::ParseInt(_) | Error::Utf8(_) | Error::InvalidValue => {
            FaultClass::Device
        }
    }
}

/// Whether initialising the module again can help: it has lost its connection to the token.
fn is_curable_anew(error: &Error) -> bool {
    use RvError::{CryptokiNotInitialized, DeviceError, DeviceRemoved, GeneralError, TokenNotPresent};
    let Error::Pkcs11(value, _) = error else { return false };
    matches!(value, CryptokiNotInitialized | DeviceError | DeviceRemoved | TokenNotPresent | GeneralError)
}

/// Whether the session no longer exists on the token after this error, so that its handle may name another by now.
pub(super) fn ends_session(error: &Error) -> bool {
    use RvError::{CryptokiNotInitialized, DeviceRemoved, SessionClosed, SessionHandleInvalid, TokenNotPresent};
    let Error::Pkcs11(value, _) = error else { return false };
    matches!(value, SessionHandleInvalid | SessionClosed | DeviceRemoved | TokenNotPresent | CryptokiNotInitialized)
}

/// PKCS#11 v3.2 section 5.1, grouped by what the caller can do.
fn class_of_value(value: RvError) -> FaultClass {
    use RvError::*;
    match value {
        // The session is gone, or in a state that a new one would not be in.
        SessionHandleInvalid
        | SessionClosed
        | OperationActive
        | OperationNotInitialized
        | UserNotLoggedIn
        | KeyHandleInvalid
        | ObjectHandleInvalid
        | FunctionCanceled
        | Cancel => FaultClass::Session,

        // Too many requests at once.
        FunctionFailed | SessionCount | HostMemory => FaultClass::Throttle,

        // The token, or the connection to it, is gone or broken. Vendor-defined values are mostly about hardware. Using
        // another token and asking again later is right for a passing fault, and does no harm otherwise.
        DeviceError
        | DeviceRemoved
        | DeviceMemory
        | TokenNotPresent
        | TokenNotRecognized
        | SlotIdInvalid
        | GeneralError
        | CryptokiNotInitialized
        | FipsSelfTestFailed
        | LibraryLoadFailed
        | ExceededMaxIterations
        | RandomNoRng
        | FunctionRejected
        | VendorDefined(_)
        | UnknownErrorCode(_) => FaultClass::Device,

        // Another attempt could lock the token.
        PinIncorrect
        | PinInvalid
        | PinLenRange
        | PinExpired
        | PinLocked
        | PinTooWeak
        | UserPinNotInitialized
        | NewPinMode
        | NextOtp => FaultClass::Locked,

        // The key or the token cannot do this, or the request is wrong.
        MechanismInvalid
        | MechanismParamInvalid
        | KeyTypeInconsistent
        | KeySizeRange
        | KeyFunctionNotPermitted
        | CurveNotSupported
        | DomainParamsInvalid
        | DataInvalid
        | DataLenRange
        | FunctionNotSupported
        | ArgumentsBad
        | BufferTooSmall
        | ActionProhibited
        | AttributeReadOnly
        | AttributeSensitive
        | AttributeTypeInvalid
        | AttributeValueInvalid
        | TemplateIncomplete
        | TemplateInconsistent
        | InformationSensitive
        | PublicKeyInvalid
        | KeyUnextractable
        | KeyNotWrappable
        | KeyIndigestible
        | KeyNeeded
        | KeyNotNeeded
        | KeyChanged
        | UserAlreadyLoggedIn
        | UserAnotherAlreadyLoggedIn
        | UserTooManyTypes
        | UserTypeInvalid
        | SessionReadOnly
        | SessionExists
        | SessionReadOnlyExists
        | SessionReadWriteSoExists
        | SessionParallelNotSupported
        | TokenWriteProtected
        | NeedToCreateThreads
        | CantLock
        | MutexBad
        | MutexNotLocked
        | CryptokiAlreadyInitialized
        | FunctionNotParallel
        | NoEvent
        | RandomSeedNotSupported
        | SavedStateInvalid
        | StateUnsaveable
        | SignatureInvalid
        | SignatureLenRange
        | EncryptedDataInvalid
        | EncryptedDataLenRange
        | WrappedKeyInvalid
        | WrappedKeyLenRange
        | WrappingKeyHandleInvalid
        | WrappingKeySizeRange
        | WrappingKeyTypeInconsistent
        | UnwrappingKeyHandleInvalid
        | UnwrappingKeySizeRange
        | UnwrappingKeyTypeInconsistent => FaultClass::Defect,
    }
}

/// An error in the words of PKCS#11: the crate prints a paragraph of the standard.
struct Said<'a>(&'a Error);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Error::Pkcs11(value, function) => write!(f, "{} says {}", Called(*function), name(*value)),
            Error::LibraryLoading(error) => {
                // The loader's own message is below the crate's.
                let error: &dyn std::error::Error = error;
                write!(f, "{}", error.source().unwrap_or(error))
            }
            Error::MissingSymbol(name) => write!(f, "it has no {name}, so that it is a library and no PKCS#11 module"),
            error => write!(f, "{error}"),
        }
    }
}

/// A function by its name in the standard.
struct Called(Function);

impl std::fmt::Display for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "C_{:?}", self.0)
    }
}

/// The name of a return value in the standard, such as `CKR_PIN_INCORRECT`.
fn name(value: RvError) -> String {
    match value {
        RvError::VendorDefined(value) => return format!("CKR_VENDOR_DEFINED {value:#x}"),
        RvError::UnknownErrorCode(value) => return format!("the return value {value:#x}, which PKCS#11 does not know"),
        _ => {}
    }
    let mut name = String::from("CKR");
    for letter in format!("{value:?}").chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use cryptoki::error::Rv;

    use super::*;

    /// The table of the signing agreement, by the names and numbers of PKCS#11.
    const TABLE: [(FaultClass, &[(&str, u64)]); 5] = [
        (
            FaultClass::Session,
            &[
                ("CKR_SESSION_HANDLE_INVALID", 0xb3),
                ("CKR_SESSION_CLOSED", 0xb0),
                ("CKR_OPERATION_ACTIVE", 0x90),
                ("CKR_OPERATION_NOT_INITIALIZED", 0x91),
                ("CKR_USER_NOT_LOGGED_IN", 0x101),
                ("CKR_KEY_HANDLE_INVALID", 0x60),
                ("CKR_OBJECT_HANDLE_INVALID", 0x82),
            ],
        ),
        (FaultClass::Throttle, &[("CKR_FUNCTION_FAILED", 0x6), ("CKR_SESSION_COUNT", 0xb1), ("CKR_HOST_MEMORY", 0x2)]),
        (
            FaultClass::Device,
            &[
                ("CKR_DEVICE_ERROR", 0x30),
                ("CKR_DEVICE_MEMORY", 0x31),
                ("CKR_DEVICE_REMOVED", 0x32),
                ("CKR_TOKEN_NOT_PRESENT", 0xe0),
                ("CKR_TOKEN_NOT_RECOGNIZED", 0xe1),
                ("CKR_GENERAL_ERROR", 0x5),
                ("CKR_CRYPTOKI_NOT_INITIALIZED", 0x190),
                ("CKR_SLOT_ID_INVALID", 0x3),
            ],
        ),
        (
            FaultClass::Locked,
            &[
                ("CKR_PIN_INCORRECT", 0xa0),
                ("CKR_PIN_INVALID", 0xa1),
                ("CKR_PIN_LEN_RANGE", 0xa2),
                ("CKR_PIN_EXPIRED", 0xa3),
                ("CKR_PIN_LOCKED", 0xa4),
            ],
        ),
        (
            FaultClass::Defect,
            &[
                ("CKR_MECHANISM_INVALID", 0x70),
                ("CKR_MECHANISM_PARAM_INVALID", 0x71),
                ("CKR_KEY_TYPE_INCONSISTENT", 0x63),
                ("CKR_KEY_FUNCTION_NOT_PERMITTED", 0x68),
                ("CKR_DATA_LEN_RANGE", 0x21),
                ("CKR_FUNCTION_NOT_SUPPORTED", 0x54),
            ],
        ),
    ];

    fn value(number: u64) -> RvError {
        match Rv::from(number) {
            Rv::Error(value) => value,
            Rv::Ok => panic!("{number} is CKR_OK"),
        }
    }

    #[test]
    fn every_row_of_the_table_of_errors_has_its_class() {
        for (class, values) in TABLE {
            for &(called, number) in values {
                let value = value(number);
                assert_eq!(name(value), called);
                let fault = fault("asked", &Error::Pkcs11(value, Function::Sign));
                assert_eq!(fault.class, class, "{called}");
                assert_eq!(fault.message, format!("asked: C_Sign says {called}"));
            }
        }
    }

    #[test]
    fn what_vendors_define_and_what_nobody_knows_opens_the_breaker_and_is_asked_again_later() {
        for number in [0x8000_0000, 0x8000_0101, 0x7fff_0000] {
            assert_eq!(class_of_value(value(number)), FaultClass::Device);
            assert!(name(value(number)).contains(&format!("{number:#x}")));
        }
    }

    #[test]
    fn only_a_lost_way_to_the_token_is_cured_by_initialising_anew() {
        for (class, values) in TABLE {
            for &(called, number) in values {
                let lost = [0x190, 0x30, 0x32, 0xe0, 0x5].contains(&number);
                assert_eq!(is_curable_anew(&Error::Pkcs11(value(number), Function::OpenSession)), lost, "{called}");
                assert!(!lost || class == FaultClass::Device);
            }
        }
        assert!(!is_curable_anew(&Error::MissingSymbol("C_GetFunctionList")));
    }

    #[test]
    fn a_module_that_is_none_is_a_defect() {
        for error in [Error::MissingSymbol("C_GetFunctionList"), Error::NullFunctionPointer, Error::NotSupported] {
            assert_eq!(class_of(&error), FaultClass::Defect);
        }
        assert_eq!(class_of(&Error::InvalidValue), FaultClass::Device);
    }
}
