//! Bounds of what renews signers.

use std::{ops::RangeInclusive, time::Duration};

/// How long before its end a certificate may be renewed: from what a test can wait for to more than a year.
pub const BEFORE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(400 * 86_400);
/// How long a command may take. A CA issues within seconds; a queue in front of it takes longer.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// What may be set in its place.
pub const DEADLINE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// How often the file of a certificate is looked at: one `stat` for each signer.
pub const LOOK: Duration = Duration::from_secs(1);
/// The pause after the first failure. It doubles with each further one.
pub const RETRY_FIRST: Duration = Duration::from_secs(10);
/// The longest pause: 14 days have room for hundreds of tries.
pub const RETRY_MAX: Duration = Duration::from_secs(3600);
/// A pause is at most this part of the time that is left, so that a short-lived certificate has some tries as well.
pub const RETRY_PART: u32 = 10;
/// How often a failure that lasts is logged.
pub const TOLD_EVERY: Duration = Duration::from_secs(86_400);

/// Bytes that a command may write: as for a certificate's file.
pub const OUTPUT_OCTETS_MAX: usize = super::CERTIFICATE_FILE_OCTETS_MAX as usize;
/// Bytes of its standard error that are kept. The rest is read and dropped.
pub const WORDS_OCTETS_MAX: usize = 2048;
/// Letters of that in a message.
pub const WORDS_LETTERS_MAX: usize = 1000;
/// How often a running command is looked at.
pub const COMMAND_LOOK: Duration = Duration::from_millis(50);
/// How long a command that is to end has from SIGTERM to SIGKILL.
pub const COMMAND_END_WAIT: Duration = Duration::from_secs(1);
/// How long the end of a command's output is waited for once the command itself has ended: processes that it left behind
/// may hold it open.
pub const OUTPUT_END_WAIT: Duration = Duration::from_millis(500);
/// How long the end of the service waits for the threads that renew: for a command to be ended.
pub const END_WAIT: Duration = Duration::from_secs(3);
const _: () = assert!(END_WAIT.as_millis() > COMMAND_END_WAIT.as_millis() + 2 * COMMAND_LOOK.as_millis());

/// Certificates of one signer that are kept: the present one, its predecessor, one that is not valid yet, and one more.
pub const KEPT_MAX: usize = 4;
/// How long a request waits for its signature: a token may be slow to come back.
pub const SIGN_WITHIN: Duration = Duration::from_secs(30);
