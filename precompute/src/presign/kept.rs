//! Every answer that is kept and may be served.
//!
//! Purpose: whoever gives answers to others as a whole: a snapshot, or a feed that has missed some. Invariant: each is one
//! that its record still stands for. It does not know who wants them.

use super::{Form, Subject, store::Stored};
use crate::{answers::Answers, pki::UnixTime, records::SEGMENTS};

impl Subject {
    /// Calls `each` with every answer of this issuer that is kept in the forms that clients get now or soon; in no order.
    /// It ends early, and returns false, when `each` does.
    pub fn each_kept(&self, answers: &Answers, now: UnixTime, mut each: impl FnMut(&Form, &Stored) -> bool) -> bool {
        let forms: Vec<Form> = self.forms(now).into_iter().chain(self.next_forms(now)).collect();
        let (mut serials, mut packed) = (Vec::new(), Vec::new());
        for segment in 0..SEGMENTS {
            serials.clear();
            self.issuer.state.records.each_in(segment, |serial, found| serials.push((serial, found.state)));
            for (serial, state) in &serials {
                for form in &forms {
                    packed.clear();
                    let kept = self.kept(answers, form, serial, &mut packed);
                    let Some(entry) = kept.filter(|kept| kept.state == *state && kept.next_update > now) else {
                        continue;
                    };
                    let stored = Stored { serial: *serial, entry, packed: std::mem::take(&mut packed) };
                    let goes_on = each(form, &stored);
                    packed = stored.packed;
                    if !goes_on {
                        return false;
                    }
                }
            }
        }
        true
    }
}
