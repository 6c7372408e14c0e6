//! The bounds of the console.

use std::time::Duration;

/// Sessions at once: operators, each with a browser or two. Each takes less than 1 KiB.
pub const SESSIONS_MAX: usize = 256;
/// Sessions of one principal: beyond them the one that has been unused for longest ends, so that nobody who has one
/// credential signs others out.
pub const SESSIONS_OF_ONE_MAX: usize = 16;
const _: () = assert!(SESSIONS_OF_ONE_MAX < SESSIONS_MAX);
/// How long a session lasts in all: a shift.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// And how long without a page that somebody asked for: a screen that was left open.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 60);
const _: () = assert!(SESSION_IDLE_MAX.as_secs() < SESSION_LIFETIME.as_secs());

/// How long a wrong token is waited for, and how many are at once: two guesses a second, of 2^128 or more.
pub const WRONG_TOKEN_PAUSE: Duration = Duration::from_secs(1);
/// See [`WRONG_TOKEN_PAUSE`].
pub const WRONG_SIGN_INS_AT_ONCE: usize = 2;
/// How long a sign-in waits for its turn. Then it is refused, with the time to come again.
pub const SIGN_IN_WITHIN: Duration = Duration::from_secs(10);
const _: () = assert!(SIGN_IN_WITHIN.as_secs() + WRONG_TOKEN_PAUSE.as_secs() < super::ADMIN_DEADLINE.as_secs());

/// Bytes of a form: a certificate in PEM, as the API takes it, and what stands around it.
pub const FORM_OCTETS_MAX: usize = super::API_BODY_OCTETS_MAX + (16 << 10);
/// Fields of a form; the largest has ten.
pub const FORM_FIELDS_MAX: usize = 32;
/// Bytes of what the API tells the console: the list of a thousand issuers is 4 MiB.
pub const ANSWER_OCTETS_MAX: usize = 32 << 20;

/// Time between two samples of the charts.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// Samples that are kept: an hour. With a dozen meters they take 80 KiB.
pub const SAMPLES_MAX: usize = 720;
/// Meters that a program may have.
pub const METERS_MAX: usize = 32;
/// Points of a curve: more than a screen shows side by side.
pub const POINTS_MAX: usize = 180;
/// How often a page with live values asks for them again; the script has it from the page.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// Rows of a table on the overview: those that have something wrong come first, and nobody reads more at once.
pub const ROWS_MAX: usize = 100;
/// Alarms that are shown.
pub const ALARMS_MAX: usize = 50;
/// Lines of the journal on a page.
pub const JOURNAL_LINES: usize = 50;
