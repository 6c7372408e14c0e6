//! What it takes to keep answers of minutes signed: a whole CA under `validity = "2m"`, by algorithm.
//!
//! `cargo bench -p ostia-benches --bench short -- 1000000 180`: so many certificates, watched for so many seconds after all
//! were signed for the first time. A slow key gets as many as two cores sign in time. Signing ahead yields to everybody, so
//! that a busy machine shows in `late` first; the time on a processor that an answer takes does not change. Needs openssl.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[path = "ahead/mod.rs"]
mod ahead;

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use precompute::{
    answers::Answers,
    issuer::ActiveIssuer,
    ocsp::{
        HashAlgorithm, Policy,
        profile::{Kept, statement},
    },
    pki::UnixTime,
    presign::{Presigner, Settings, Subject},
};

const VALIDITY: Duration = Duration::from_secs(120);
/// How often some certificates are drawn, and how many.
const LOOK: Duration = Duration::from_millis(50);
const DRAWN: u64 = 100;

/// Seconds on a processor that this process has taken.
fn on_processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // utime and stime, in ticks of 10 ms, behind the name in parentheses.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// What was found of the certificates that were drawn.
#[derive(Default)]
struct Drawn {
    all: u64,
    /// No answer could be served.
    late: u64,
    /// What the answer that ended soonest had left, in seconds.
    least_left: Option<u64>,
}

impl Drawn {
    fn look(&mut self, subject: &Subject, answers: &Answers, count: u64) {
        let (issuer, now) = (&subject.issuer, UnixTime::now());
        let form = &subject.forms(now)[0];
        let mut packed = Vec::new();
        for _ in 0..DRAWN {
            self.all += 1;
            let serial = ahead::serial(self.all.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count);
            let said = statement(&issuer.policy, issuer.state.records.get(&serial), now).unwrap();
            let kept = subject.kept(answers, form, &serial, &mut packed).as_ref().and_then(Kept::of);
            match kept.filter(|kept| kept.serves(&said, &issuer.policy, UnixTime::MAX, now)) {
                None => self.late += 1,
                Some(kept) => {
                    let left = kept.times.next_update.since(now).as_secs();
                    self.least_left = Some(self.least_left.map_or(left, |least| least.min(left)));
                }
            }
        }
    }
}

fn subject(issuer: &Arc<ActiveIssuer>) -> Subject {
    Subject { issuer: Arc::clone(issuer), ahead: vec![HashAlgorithm::Sha1] }
}

fn measure(name: &str, key: &[&str], count: u64, watched: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let threads = thread::available_parallelism().unwrap().get();
    let policy = Policy { validity: VALIDITY, ..Policy::DEFAULT };
    let (issuer, _) = ahead::issuer(dir.path(), key, threads, policy, count);
    let answers = Arc::new(Answers::new(1 << 40));
    let settings = Settings {
        answers: Arc::clone(&answers),
        state_dir: dir.path().to_owned(),
        store_octets_max: 1 << 40,
        heard_by: None,
    };
    let began = Instant::now();
    let presigner = Presigner::start(settings, vec![subject(&issuer)]).unwrap();
    while answers.len() < count {
        thread::sleep(LOOK);
    }
    let filled = began.elapsed();
    let signed = || presigner.progress().report().signed;
    let (before, since, cpu) = (signed(), Instant::now(), on_processor());
    let (mut drawn, subject) = (Drawn::default(), subject(&issuer));
    while since.elapsed() < watched {
        drawn.look(&subject, &answers, count);
        thread::sleep(LOOK);
    }
    let (signed, cpu, took) = ((signed() - before) as f64, on_processor() - cpu, since.elapsed().as_secs_f64());
    let stored = fs::metadata(dir.path().join("answers.redb")).map_or(0, |file| file.len());
    println!(
        "| {name} | {count} | {:.1} | {:.0} | {:.2} | {:.1} | {:.2} % | {} | {:.0} | {} |",
        filled.as_secs_f64(),
        signed / took,
        cpu / took,
        cpu / signed * 1e6,
        drawn.late as f64 / drawn.all as f64 * 100.0,
        drawn.least_left.unwrap_or(0),
        answers.octets() as f64 / count as f64,
        stored >> 10,
    );
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let count = numbers.first().copied().unwrap_or(100_000);
    let watched = Duration::from_secs(numbers.get(1).copied().unwrap_or(150));
    println!(
        "| key | certificates | first s | signed/s | cores | µs of a core an answer | late | least left s | bytes each | store KiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    measure("P-256", &ahead::P256, count, watched);
    measure("Ed25519", &["-newkey", "ed25519"], count, watched);
    // 3,700 a second on a core: what two of them sign in the minute that an answer has.
    measure("RSA-2048", &["-newkey", "rsa:2048"], count.min(150_000), watched);
}
