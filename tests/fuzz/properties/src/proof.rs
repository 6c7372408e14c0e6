//! Proofs of what was said, and the files that they are made of.
//!
//! - What is verified is so by one key alone, and written again it is the same proof.
//! - What it says is of the time that is asked, and no statement is later.
//! - What is read of a file lies in it; a content that is read is written as the same bytes.

use precompute::transparency::{
    Content, Proof,
    segment::{Frame, Frames},
};

/// The public key of the seeds: that of 32 octets of 7.
const KEY: [u8; 32] = [
    0xea, 0x4a, 0x6c, 0x63, 0xe2, 0x9c, 0x52, 0x0a, 0xbe, 0xf5, 0x50, 0x7b, 0x13, 0x2e, 0xc5, 0xf9, 0x95, 0x47, 0x76,
    0xae, 0xbe, 0xbe, 0x7b, 0x92, 0x42, 0x1e, 0xea, 0x69, 0x14, 0x46, 0xd2, 0x2c,
];

/// Verifies the input as a proof; taken is what proves something.
pub fn proof(octets: &[u8]) -> bool {
    frames(octets);
    if let Ok(content) = Content::read(octets) {
        assert_eq!(content.write(), octets);
    }
    let Ok(proof) = serde_json::from_slice::<Proof>(octets) else { return false };
    let written = serde_json::to_vec(&proof).expect("plain values");
    assert_eq!(serde_json::from_slice::<Proof>(&written).expect("it was just written"), proof);
    proof.verify(&[9; 32]).expect_err("it is another's key");
    match proof.verify(&KEY) {
        Ok(verdict) => {
            assert!(verdict.before.at <= proof.at && proof.at <= verdict.after.at);
            assert!(verdict.said.iter().all(|said| said.at <= proof.at && verdict.known.contains(said)));
            true
        }
        Err(fault) => {
            let told = fault.to_string();
            assert!(!told.is_empty() && told.len() < 1000 && !told.contains(char::is_control), "{told:?}");
            false
        }
    }
}

fn frames(octets: &[u8]) {
    let Some(mut frames) = Frames::new(octets).expect("memory") else { return };
    while let Some(frame) = frames.read().expect("memory") {
        if let Frame::Leaf { content, place, .. } = frame {
            assert!(place + content.len() as u64 <= octets.len() as u64);
        }
        assert!(frames.at() <= octets.len() as u64);
    }
}
