//! What programs tell the person or script that runs them, beside the log.
//!
//! Invariant: no program panics over it, and none leaves its work undone because nobody reads on (`… | head -1`): what is
//! left unread is dropped, and the exit status is that of the work. Where the text was to be kept and could not be, as in
//! a file on a full disk, that is an error. It does not know what is said.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write, stderr, stdout},
};

/// A line, or several, on standard output.
pub fn say(text: impl Display) -> io::Result<()> {
    let said = write(&mut stdout().lock(), text);
    said.map_err(|error| io::Error::new(error.kind(), format!("standard output cannot be written: {error}")))
}

/// Why `program` ends, on standard error. If that is closed, the exit status still speaks.
pub fn complain(program: &str, error: impl Display) {
    let _ = writeln!(stderr(), "{program}: {error}");
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
