//! What programs print for the person or script that runs them, beside the log.
//!
//! Invariant: no program panics because of its output, and none leaves its work undone because the reader has gone (`…
//! | head -1`): the rest of the output is dropped, and the exit status is that of the work. If the output was to be
//! kept and could not be, as in a file on a full disk, that is an error. This module does not know what is printed.

mod finding;
mod nearest;
mod paint;
mod stream;

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write, stderr, stdout},
};

use anstream::AutoStream;

pub use finding::{Finding, Severity, Where};
pub use nearest::{NAME_TOLD_MAX, nearest};
pub use paint::{Painted, doubtful, well, wrong};
pub use stream::{FORM_VARIABLE, Stream, standard_error, takes_colours};

/// Prints one or several lines on standard output.
pub fn say(text: impl Display) -> io::Result<()> {
    let said = write(&mut AutoStream::auto(stdout().lock()), text);
    said.map_err(|error| io::Error::new(error.kind(), format!("standard output cannot be written: {error}")))
}

/// Prints on standard error why `program` ends. If that is closed, there is still the exit status.
pub fn complain(program: &str, error: impl Display) {
    let text = format!("{}: {error}", wrong(program));
    let text = if stream::has_priorities() { for_journal(3, &text) } else { text };
    let _ = writeln!(AutoStream::auto(stderr()), "{text}");
}

/// A text of one or several lines as the journal takes it: each line becomes an entry of its own, and needs the priority
/// (0 to 7 of syslog(3)).
pub fn for_journal(priority: u8, text: &str) -> String {
    text.lines().map(|line| format!("<{priority}>{line}")).collect::<Vec<_>>().join("\n")
}

/// A value from a user, in quotation marks, for messages; not shown if it may be a secret.
pub fn shown(text: &str) -> String {
    if may_be_secret(text) { "a text that may be a secret, and is not shown".into() } else { format!("`{text}`") }
}

/// Whether a text that should be a name may itself be a key, a certificate, or a URI with a PIN in it: people paste
/// such things.
pub fn may_be_secret(text: &str) -> bool {
    /// A shorter text is not a key.
    const KEY_LETTERS_MIN: usize = 40;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=\\".contains(&byte);
    let begin = text.trim_start().as_bytes();
    // A SEQUENCE of DER in base64 begins with M and one of the first sixteen letters.
    let is_der = matches!(begin, [b'M', b'A'..=b'P', ..]) && begin.len() >= KEY_LETTERS_MIN;
    let lower = text.to_ascii_lowercase();
    ["-----begin", "private key", "pin-value"].iter().any(|mark| lower.contains(mark))
        || is_der && text.bytes().all(is_base64)
}

/// The text as one word of a shell, for commands to copy.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn write(out: &mut impl Write, text: impl Display) -> io::Result<()> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
        let wrapped = format!("{}\n{}\\n", &key[..20], &key[20..]);
        for secret in [key, &wrapped, "-----BEGIN EC", " pkcs11:a?PIN-VALUE=1", "x PRIVATE KEY-----"] {
            assert!(may_be_secret(secret), "{secret}");
            assert!(!shown(secret).contains(secret));
        }
        for name in ["ocsp.key", "/etc/MIGHA/keys", "MINE", &format!("{key}.pem"), "pkcs11:token=a?pin-source=b", ""] {
            assert_eq!(shown(name), format!("`{name}`"));
        }
    }

    #[test]
    fn each_line_of_an_entry_has_its_priority() {
        assert_eq!(for_journal(3, "a: 1\nb: 2\n"), "<3>a: 1\n<3>b: 2");
    }

    #[test]
    fn words_of_a_shell_are_quoted_where_they_must() {
        for (text, word) in [("a/b.csr", "a/b.csr"), ("a b", "'a b'"), ("it's", r"'it'\''s'")] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn a_reader_who_has_gone_is_no_error_and_a_full_disk_is() {
        let (reader, mut pipe) = io::pipe().unwrap();
        drop(reader);
        write(&mut pipe, "unread").unwrap();
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write(&mut full, "lost").unwrap_err().kind(), ErrorKind::StorageFull);
        let mut kept = Vec::new();
        write(&mut kept, "kept").unwrap();
        assert_eq!(kept, b"kept\n");
    }
}
