//! A model CA: an index that it appends to, rewrites, breaks and repairs.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::Rng;

/// What a line says: the rank of its status.
pub(super) type Content = Vec<(u32, u8)>;

#[derive(Debug)]
pub(super) struct ModelCa {
    pub(super) path: PathBuf,
    pub(super) lines: Content,
    /// How the file is broken at present.
    broken: Option<&'static str>,
}

fn line((number, rank): (u32, u8)) -> String {
    match rank {
        0 => format!("V\t350101000000Z\t\t{number:04X}\tunknown\t/CN={number}\n"),
        rank => {
            let reason = if rank == 1 { "certificateHold" } else { "keyCompromise" };
            format!("R\t350101000000Z\t250101000000Z,{reason}\t{number:04X}\tunknown\t/CN={number}\n")
        }
    }
}

impl ModelCa {
    pub(super) fn new(path: PathBuf, rng: &mut Rng, certificates: u32) -> Self {
        let mut this = Self { path, lines: Vec::new(), broken: None };
        this.rewrite(rng, certificates);
        this
    }

    /// Another index, which has nothing to do with this one.
    fn rewrite(&mut self, rng: &mut Rng, certificates: u32) {
        self.lines = (1..=certificates).filter(|_| rng.chance(60)).map(|number| (number, 0)).collect();
        for (_, rank) in &mut self.lines {
            *rank = [0, 0, 0, 0, 1, 2][rng.below(6)];
        }
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
                let added = (*number, [0, 0, 1, 2][rng.below(4)]);
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
                self.lines[any].1 = [0, 1, 1, 2][rng.below(4)];
                self.write();
                format!("changes to {:?}", self.lines[any])
            }
            _ => "does nothing".into(),
        }
    }
}
