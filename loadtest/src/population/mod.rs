//! The certificates that are asked about.
//!
//! Invariant: read once, before the run, and never changed by it; an entry costs about 45 bytes, whatever its source.
//! It does not know how often which entry is drawn (`draw`) or what an answer to it must look like (`ocsp::judge`).

mod index;

use crate::certificate;
use crate::draw::Rng;
use crate::hex::serial_from_hex;
use crate::limits::{INDEX_LINE_OCTETS_MAX, POPULATION_MAX};
use crate::ocsp::judge::Expectation;
use crate::problem::Problem;
use crate::time::UnixSeconds;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// One certificate: where its serial's bytes are, and what is known.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    length: u8,
    expectation: Expectation,
}

/// All of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Population {
    entries: Vec<Entry>,
    serials: Vec<u8>,
}

impl Population {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Content bytes of the serial number of entry `i`, which is below `len`.
    #[inline]
    pub(crate) fn serial(&self, i: usize) -> &[u8] {
        let entry = self.entries[i];
        &self.serials[entry.start as usize..entry.start as usize + usize::from(entry.length)]
    }

    #[inline]
    pub(crate) fn expectation(&self, i: usize) -> Expectation {
        self.entries[i].expectation
    }

    /// Adds a serial written in hex.
    pub(crate) fn add_hex(&mut self, hex: &str, expectation: Expectation) -> Result<(), String> {
        let start = self.serials.len();
        serial_from_hex(hex, &mut self.serials)
            .map_err(|_| format!("{hex:?} is no serial number; hexadecimal digits are needed, at most 128 of them"))?;
        self.push_from(start, expectation)
    }

    /// Adds a serial given as content bytes.
    pub(crate) fn add_octets(&mut self, octets: &[u8], expectation: Expectation) -> Result<(), String> {
        if octets.is_empty() || octets.len() > crate::limits::SERIAL_OCTETS_MAX {
            return Err("its serial number is empty or over 64 bytes".to_owned());
        }
        let start = self.serials.len();
        self.serials.extend_from_slice(octets);
        self.push_from(start, expectation)
    }

    fn push_from(&mut self, start: usize, expectation: Expectation) -> Result<(), String> {
        if self.entries.len() >= POPULATION_MAX {
            return Err(format!("more than {POPULATION_MAX} certificates; split the list over several runs"));
        }
        let length = (self.serials.len() - start) as u8;
        self.entries.push(Entry { start: start as u32, length, expectation });
        Ok(())
    }

    /// Adds the entries of an `openssl ca` index file. What is valid there but past its expiry is treated as expired.
    pub(crate) fn add_index(&mut self, path: &Path, now: UnixSeconds) -> Result<(), Problem> {
        let before = self.len();
        each_line("--index", path, |line| {
            if line.trim().is_empty() || line.starts_with('#') {
                return Ok(());
            }
            let record = index::parse(line, now)?;
            self.add_hex(record.serial, record.expectation)
        })?;
        self.some_since(before, "--index", path)
    }

    /// Adds the serials of a file with one in hex on each line.
    pub(crate) fn add_serials(&mut self, path: &Path) -> Result<(), Problem> {
        let before = self.len();
        each_line("--serials", path, |line| match line.trim() {
            text if text.is_empty() || text.starts_with('#') => Ok(()),
            // `openssl x509 -serial` writes serial=0A.
            text => self.add_hex(text.strip_prefix("serial=").unwrap_or(text), Expectation::Any),
        })?;
        self.some_since(before, "--serials", path)
    }

    /// Adds the certificates of a file.
    pub(crate) fn add_certificates(&mut self, path: &Path) -> Result<(), Problem> {
        for certificate in certificate::from_file("--cert", path)? {
            self.add_octets(&certificate.serial, Expectation::Any)
                .map_err(|why| Problem::new(format!("--cert {}: {why}", path.display())))?;
        }
        Ok(())
    }

    /// Adds `n` serials of 16 random bytes: the chance that one of them was issued is nil.
    pub(crate) fn add_random(&mut self, n: usize, seed: u64) -> Result<(), Problem> {
        let mut rng = Rng::new(seed, u64::from_be_bytes(*b"unlisted"));
        let mut octets = [0u8; 16];
        for _ in 0..n {
            rng.fill(&mut octets);
            // Positive, and minimal without a sign byte.
            octets[0] = octets[0] & 0x7f | 0x40;
            self.add_octets(&octets, Expectation::Unlisted)
                .map_err(|why| Problem::new(format!("--random {n}: {why}")))?;
        }
        Ok(())
    }

    fn some_since(&self, before: usize, flag: &str, path: &Path) -> Result<(), Problem> {
        if self.len() == before {
            return Err(Problem::new(format!("{flag} {}: no certificate in it", path.display())));
        }
        Ok(())
    }
}

fn each_line(flag: &str, path: &Path, mut line: impl FnMut(&str) -> Result<(), String>) -> Result<(), Problem> {
    let file = File::open(path).map_err(|e| Problem::file(flag, path, &e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut text = String::new();
    for number in 1usize.. {
        text.clear();
        let mut limited = std::io::Read::take(&mut reader, INDEX_LINE_OCTETS_MAX as u64);
        let read = limited.read_line(&mut text).map_err(|e| Problem::file(flag, path, &e))?;
        if read == 0 {
            break;
        }
        if read == INDEX_LINE_OCTETS_MAX {
            return Err(Problem::new(format!("{flag} {}: line {number} is over 64 KiB long", path.display())));
        }
        line(text.trim_end_matches(['\n', '\r']))
            .map_err(|why| Problem::new(format!("{flag} {}: line {number}: {why}", path.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsp::judge::Reason;
    use std::io::Write as _;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn reads_an_index_with_its_expectations() {
        let index = file(
            "V\t350101000000Z\t\t01\tunknown\t/CN=a\n\
             R\t350101000000Z\t240102030405Z,keyCompromise\tFF02\tunknown\t/CN=b\n\
             E\t200101000000Z\t\t03\tunknown\t/CN=c\n\
             V\t200101000000Z\t\t04\tunknown\t/CN=d\n",
        );
        let mut population = Population::default();
        population.add_index(index.path(), 1_750_000_000).unwrap();
        assert_eq!(population.len(), 4);
        assert_eq!((population.serial(0), population.expectation(0)), (&[1][..], Expectation::Good));
        assert_eq!(population.serial(1), [0, 0xff, 2]);
        assert_eq!(population.expectation(1), Expectation::Revoked { at: 1_704_164_645, reason: Reason::Code(1) });
        assert_eq!(population.expectation(2), Expectation::Expired);
        assert_eq!(population.expectation(3), Expectation::Expired, "valid on paper, past its notAfter");
    }

    #[test]
    fn names_the_line_at_fault() {
        let index = file("V\t350101000000Z\t\t01\tunknown\t/CN=a\nX\t1\t2\n");
        let problem = Population::default().add_index(index.path(), 0).unwrap_err().to_string();
        assert!(problem.contains("line 2"), "{problem}");
        let serials = file("01\nzz\n");
        let problem = Population::default().add_serials(serials.path()).unwrap_err().to_string();
        assert!(problem.contains("line 2") && problem.contains("zz"), "{problem}");
    }

    #[test]
    fn refuses_a_file_without_certificates() {
        let empty = file("# nothing\n\n");
        assert!(Population::default().add_serials(empty.path()).is_err());
        assert!(Population::default().add_index(empty.path(), 0).is_err());
        assert!(Population::default().add_certificates(empty.path()).is_err());
    }

    #[test]
    fn makes_random_serials_that_are_minimal_positive_distinct_and_repeatable() {
        let mut population = Population::default();
        population.add_random(1_000, 5).unwrap();
        let mut again = Population::default();
        again.add_random(1_000, 5).unwrap();
        assert_eq!(population.serials, again.serials);
        let mut seen: Vec<&[u8]> = (0..1_000).map(|i| population.serial(i)).collect();
        assert!(seen.iter().all(|s| s.len() == 16 && (0x40..0x80).contains(&s[0])));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1_000);
    }
}
