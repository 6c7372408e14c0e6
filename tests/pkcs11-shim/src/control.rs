//! What the shim is told to do: the control file, read into orders. Pure.

use std::time::Duration;

/// One line of the control file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Order {
    /// As it stands in the file; what has been counted for it is forgotten with the line.
    pub(crate) line: String,
    /// `C_Sign`, or `*`.
    pub(crate) function: String,
    /// Label.
    pub(crate) token: Option<String>,
    /// Calls to let pass first.
    pub(crate) after: u64,
    /// Calls to meet then; `None`: all.
    pub(crate) times: Option<u64>,
    pub(crate) delay: Duration,
    pub(crate) hang: bool,
    /// Answer this and do nothing.
    pub(crate) returns: Option<u64>,
    /// Do it, and answer this none the less.
    pub(crate) returns_done: Option<u64>,
    /// Turn a bit of what C_Sign gives.
    pub(crate) corrupt: bool,
    /// To be set in what C_GetTokenInfo gives.
    pub(crate) flags: u64,
    /// ulMaxSessionCount of what C_GetTokenInfo gives; how many C_OpenSession gives.
    pub(crate) sessions: Option<u64>,
}

/// Reads all lines; a line that is not understood is an error, because a test would then test nothing.
pub(crate) fn parse(text: &str) -> Result<Vec<Order>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse_line(line).ok_or_else(|| format!("not understood: {line}"))).collect()
}

fn parse_line(line: &str) -> Option<Order> {
    let mut words = line.split_ascii_whitespace();
    let function = words.next()?.to_owned();
    let mut order = Order { line: line.to_owned(), function, ..Order::default() };
    for word in words {
        match word.split_once('=') {
            None if word == "hang" => order.hang = true,
            None if word == "corrupt" => order.corrupt = true,
            Some(("token", label)) => order.token = Some(label.to_owned()),
            Some(("after", count)) => order.after = count.parse().ok()?,
            Some(("times", count)) => order.times = Some(count.parse().ok()?),
            Some(("delay", time)) => order.delay = Duration::from_millis(time.strip_suffix("ms")?.parse().ok()?),
            Some(("return", value)) => order.returns = Some(number(value, &RETURN_VALUES)?),
            Some(("return-done", value)) => order.returns_done = Some(number(value, &RETURN_VALUES)?),
            Some(("flags", value)) => order.flags |= number(value, &FLAGS)?,
            Some(("sessions", count)) => order.sessions = Some(count.parse().ok()?),
            _ => return None,
        }
    }
    Some(order)
}

/// A name, or a number in hexadecimal.
fn number(text: &str, names: &[(&str, u64)]) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value),
    }
}

/// A return value as the log of calls has it.
pub(crate) fn name(value: u64) -> String {
    let named = RETURN_VALUES.iter().find(|(_, known)| *known == value);
    named.map_or_else(|| format!("{value:#x}"), |(name, _)| (*name).to_owned())
}

const FLAGS: [(&str, u64); 3] = [
    ("CKF_USER_PIN_COUNT_LOW", 0x0001_0000),
    ("CKF_USER_PIN_FINAL_TRY", 0x0002_0000),
    ("CKF_USER_PIN_LOCKED", 0x0004_0000),
];

/// PKCS#11 v2.40, all that a responder can meet; others are written as numbers.
const RETURN_VALUES: [(&str, u64); 39] = [
    ("CKR_OK", 0x0),
    ("CKR_CANCEL", 0x1),
    ("CKR_HOST_MEMORY", 0x2),
    ("CKR_SLOT_ID_INVALID", 0x3),
    ("CKR_GENERAL_ERROR", 0x5),
    ("CKR_FUNCTION_FAILED", 0x6),
    ("CKR_ARGUMENTS_BAD", 0x7),
    ("CKR_CANT_LOCK", 0xa),
    ("CKR_DATA_INVALID", 0x20),
    ("CKR_DATA_LEN_RANGE", 0x21),
    ("CKR_DEVICE_ERROR", 0x30),
    ("CKR_DEVICE_MEMORY", 0x31),
    ("CKR_DEVICE_REMOVED", 0x32),
    ("CKR_FUNCTION_CANCELED", 0x50),
    ("CKR_FUNCTION_NOT_SUPPORTED", 0x54),
    ("CKR_KEY_HANDLE_INVALID", 0x60),
    ("CKR_KEY_SIZE_RANGE", 0x62),
    ("CKR_KEY_TYPE_INCONSISTENT", 0x63),
    ("CKR_KEY_FUNCTION_NOT_PERMITTED", 0x68),
    ("CKR_MECHANISM_INVALID", 0x70),
    ("CKR_MECHANISM_PARAM_INVALID", 0x71),
    ("CKR_OBJECT_HANDLE_INVALID", 0x82),
    ("CKR_OPERATION_ACTIVE", 0x90),
    ("CKR_OPERATION_NOT_INITIALIZED", 0x91),
    ("CKR_PIN_INCORRECT", 0xa0),
    ("CKR_PIN_INVALID", 0xa1),
    ("CKR_PIN_LEN_RANGE", 0xa2),
    ("CKR_PIN_EXPIRED", 0xa3),
    ("CKR_PIN_LOCKED", 0xa4),
    ("CKR_SESSION_CLOSED", 0xb0),
    ("CKR_SESSION_COUNT", 0xb1),
    ("CKR_SESSION_HANDLE_INVALID", 0xb3),
    ("CKR_TOKEN_NOT_PRESENT", 0xe0),
    ("CKR_TOKEN_NOT_RECOGNIZED", 0xe1),
    ("CKR_USER_ALREADY_LOGGED_IN", 0x100),
    ("CKR_USER_NOT_LOGGED_IN", 0x101),
    ("CKR_USER_PIN_NOT_INITIALIZED", 0x102),
    ("CKR_CRYPTOKI_NOT_INITIALIZED", 0x190),
    ("CKR_CRYPTOKI_ALREADY_INITIALIZED", 0x191),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_line_by_line_and_none_is_passed_over() {
        let text = "# nothing\n\nC_Sign token=a after=2 times=1 return=CKR_DEVICE_ERROR\n* delay=5ms hang\nC_GetTokenInfo flags=CKF_USER_PIN_LOCKED sessions=3\n";
        let [sign, all, info] = &parse(text).unwrap()[..] else { panic!() };
        assert_eq!((sign.function.as_str(), sign.token.as_deref()), ("C_Sign", Some("a")));
        assert_eq!((sign.after, sign.times, sign.returns), (2, Some(1), Some(0x30)));
        assert_eq!((all.function.as_str(), all.delay, all.hang), ("*", Duration::from_millis(5), true));
        assert_eq!((info.flags, info.sessions), (0x0004_0000, Some(3)));
        for wrong in ["C_Sign return=CKR_NONE", "C_Sign sometimes", "C_Sign delay=5", "C_Sign times=x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!((name(0x30).as_str(), name(0x8000_0001).as_str()), ("CKR_DEVICE_ERROR", "0x80000001"));
    }
}
