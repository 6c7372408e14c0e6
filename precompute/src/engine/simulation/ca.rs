//! A model CA: an index that it appends to, rewrites, breaks and repairs.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::Rng;
use crate::pki::{Reason, Record, Status, UnixTime};

/// What its lines say, in order.
pub(super) type Content = Vec<(u32, Record)>;

/// Times of revocation, and how an index writes them.
const TIMES: [(UnixTime, &str); 2] =
    [(UnixTime(1_735_689_600), "250101000000Z"), (UnixTime(1_767_225_600), "260101000000Z")];
/// Ends of validity.
const ENDS: [(UnixTime, &str); 2] =
    [(UnixTime(2_051_222_400), "350101000000Z"), (UnixTime(2_082_758_400), "360101000000Z")];
const FINAL_REASONS: [Reason; 2] = [Reason::KeyCompromise, Reason::Superseded];

#[derive(Debug)]
pub(super) struct ModelCa {
    pub(super) path: PathBuf,
    pub(super) lines: Content,
    /// How the file is broken at present.
    pub(super) broken: Option<&'static str>,
}

fn line((number, record): (u32, Record)) -> String {
    let written = |of: [(UnixTime, &'static str); 2], time| of.into_iter().find(|(of, _)| *of == time).unwrap().1;
    let end = written(ENDS, record.not_after.unwrap());
    match record.status {
        Status::Good => format!("V\t{end}\t\t{number:04X}\tunknown\t/CN={number}\n"),
        Status::Revoked { time, reason } => {
            let (time, reason) = (written(TIMES, time), reason.name());
            format!("R\t{end}\t{time},{reason}\t{number:04X}\tunknown\t/CN={number}\n")
        }
    }
}

/// A line of one of these ranks.
fn draw(rng: &mut Rng, ranks: &[u8]) -> Record {
    let rank = ranks[rng.below(ranks.len())];
    let (time, _) = TIMES[rng.below(2)];
    let reason = if rank == 1 { Reason::CertificateHold } else { FINAL_REASONS[rng.below(2)] };
    let status = if rank == 0 { Status::Good } else { Status::Revoked { time, reason } };
    // Few certificates get another end.
    let (end, _) = ENDS[usize::from(rng.chance(10))];
    Record { status, not_after: Some(end) }
}

impl ModelCa {
    pub(super) fn new(path: PathBuf, rng: &mut Rng, certificates: u32) -> Self {
        let mut this = Self { path, lines: Vec::new(), broken: None };
        this.rewrite(rng, certificates);
        this
    }

    /// Another index, which has nothing to do with this one.
    fn rewrite(&mut self, rng: &mut Rng, certificates: u32) {
        let listed: Vec<u32> = (1..=certificates).filter(|_| rng.chance(60)).collect();
        self.lines = listed.into_iter().map(|number| (number, draw(rng, &[0, 0, 0, 0, 1, 2]))).collect();
        self.write();
    }

    /// As `openssl ca` does it: a new file in the place of the old one.
    fn write(&mut self) {
        let mut text: String = self.lines.iter().copied().map(line).collect();
        match self.broken {
            Some("away") => {
                let _ = fs::remove_file(&self.path);
                return;
            }
            Some("half a line") => text += "V\t35010100",
            Some("a line in between") => text = format!("<html>\n{text}"),
            Some(_) => text += &self.lines.first().map_or_else(|| "<html>\n".into(), |first| line(*first)),
            None => {}
        }
        let beside = Path::new(&self.path).with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, &self.path).unwrap();
    }

    pub(super) fn repair(&mut self) {
        self.broken = None;
        self.write();
    }

    /// What it says of a certificate; `None` if it does not list it.
    pub(super) fn says(content: &Content, number: u32) -> Option<Record> {
        content.iter().find(|(listed, _)| *listed == number).map(|(_, record)| *record)
    }

    /// Does one thing; says what.
    pub(super) fn acts(&mut self, rng: &mut Rng, certificates: u32) -> String {
        let any = rng.below(self.lines.len().max(1));
        match rng.below(10) {
            0 => {
                self.rewrite(rng, certificates);
                "writes another index".into()
            }
            1 | 2 => {
                let ways = ["away", "half a line", "a line in between", "a line twice"];
                self.broken = if self.broken.is_some() { None } else { Some(ways[rng.below(4)]) };
                self.write();
                format!("its index is broken: {:?}", self.broken)
            }
            3 | 4 => {
                let unlisted: Vec<u32> =
                    (1..=certificates).filter(|number| self.lines.iter().all(|(listed, _)| listed != number)).collect();
                let Some(number) = unlisted.get(rng.below(unlisted.len().max(1))) else { return "does nothing".into() };
                let added = (*number, draw(rng, &[0, 0, 1, 2]));
                self.lines.push(added);
                if self.broken.is_some() || fs::metadata(&self.path).is_err() {
                    self.write();
                } else {
                    let mut file = fs::File::options().append(true).open(&self.path).unwrap();
                    file.write_all(line(added).as_bytes()).unwrap();
                }
                format!("appends {added:?}")
            }
            5 if !self.lines.is_empty() => {
                let gone = self.lines.remove(any);
                self.write();
                format!("removes {gone:?}")
            }
            _ if !self.lines.is_empty() => {
                self.lines[any].1 = draw(rng, &[0, 1, 1, 2]);
                self.write();
                format!("changes to {:?}", self.lines[any])
            }
            _ => "does nothing".into(),
        }
    }
}
