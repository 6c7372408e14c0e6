//! Random numbers and the distributions that requests are drawn from.
//!
//! Invariant: the same seed gives the same sequence on every machine and in every version (the generators are written
//! out here for that). Not for secrets: nonces from here are unpredictable enough to be distinct, which is all they
//! need.

/// xoshiro256++ by Blackman and Vigna, seeded through SplitMix64 as they advise.
#[derive(Debug, Clone)]
pub(crate) struct Rng([u64; 4]);

impl Rng {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        // The stream's number is mixed first, so that threads with neighbouring numbers share nothing.
        let mut state = seed ^ split_mix(&mut stream.wrapping_add(0x5851_f42d_4c95_7f2d));
        Self([split_mix(&mut state), split_mix(&mut state), split_mix(&mut state), split_mix(&mut state)])
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    /// Below `n`, by multiplication; the bias is under n / 2^64. `n` = 0 gives 0.
    #[inline]
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// In [0, 1).
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How the next certificate is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Draw {
    /// Each alike.
    Uniform,
    /// The k-th of the population in proportion to k^-s.
    Zipf(f64),
}

/// A distribution over `0..n`.
#[derive(Debug, Clone)]
pub(crate) enum Sampler {
    Uniform { n: u64 },
    Zipf(Zipf),
}

impl Sampler {
    pub(crate) fn new(draw: Draw, n: usize) -> Self {
        match draw {
            Draw::Uniform => Sampler::Uniform { n: n as u64 },
            Draw::Zipf(exponent) => Sampler::Zipf(Zipf::new(n as u64, exponent)),
        }
    }

    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        match self {
            Sampler::Uniform { n } => rng.below(*n) as u32,
            Sampler::Zipf(zipf) => zipf.draw(rng),
        }
    }
}

/// Zipf's law by rejection-inversion (Hörmann and Derflinger 1996): constant time and no table, whatever the
/// population.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    n: f64,
    exponent: f64,
    h_first: f64,
    h_last: f64,
    s: f64,
}

impl Zipf {
    fn new(n: u64, exponent: f64) -> Self {
        let n = n as f64;
        let mut zipf = Self { n, exponent, h_first: 0.0, h_last: 0.0, s: 0.0 };
        zipf.h_first = zipf.h_integral(1.5) - 1.0;
        zipf.h_last = zipf.h_integral(n + 0.5);
        zipf.s = 2.0 - zipf.h_integral_inverse(zipf.h_integral(2.5) - zipf.h(2.0));
        zipf
    }

    fn draw(&self, rng: &mut Rng) -> u32 {
        // Accepts with probability above 0.7 each round; the bound is only there because every loop has one.
        for _ in 0..1_000 {
            let u = self.h_last + rng.unit() * (self.h_first - self.h_last);
            let x = self.h_integral_inverse(u);
            let k = (x + 0.5).floor().clamp(1.0, self.n);
            if k - x <= self.s || u >= self.h_integral(k + 0.5) - self.h(k) {
                return k as u32 - 1;
            }
        }
        0
    }

    fn h(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    // Integral of x^-s, written so that it stays exact as s nears 1.
    fn h_integral(&self, x: f64) -> f64 {
        let log = x.ln();
        expm1_over((1.0 - self.exponent) * log) * log
    }

    fn h_integral_inverse(&self, x: f64) -> f64 {
        let t = (x * (1.0 - self.exponent)).max(-1.0);
        (ln1p_over(t) * x).exp()
    }
}

fn ln1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x / 3.0) }
}

fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x / 3.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_its_sequence_for_a_seed_and_differs_between_streams() {
        let take = |seed, stream| -> Vec<u64> {
            let mut rng = Rng::new(seed, stream);
            (0..8).map(|_| rng.next()).collect()
        };
        assert_eq!(take(7, 0), take(7, 0));
        assert_ne!(take(7, 0), take(7, 1));
        assert_ne!(take(7, 0), take(8, 0));
    }

    #[test]
    fn draws_uniformly_within_the_population() {
        let sampler = Sampler::new(Draw::Uniform, 10);
        let mut rng = Rng::new(1, 0);
        let mut seen = [0u32; 10];
        for _ in 0..100_000 {
            seen[sampler.draw(&mut rng) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (9_500..10_500).contains(n)), "{seen:?}");
    }

    #[test]
    fn draws_by_zipf_in_proportion_to_rank() {
        for exponent in [0.5, 1.0, 1.3, 2.0] {
            let n = 50;
            let sampler = Sampler::new(Draw::Zipf(exponent), n);
            let mut rng = Rng::new(3, 0);
            let total = 400_000;
            let mut seen = vec![0u32; n];
            for _ in 0..total {
                seen[sampler.draw(&mut rng) as usize] += 1;
            }
            let norm: f64 = (1..=n).map(|k| (k as f64).powf(-exponent)).sum();
            for (i, count) in seen.iter().enumerate() {
                let expected = f64::from(total) * ((i + 1) as f64).powf(-exponent) / norm;
                // Five standard deviations.
                assert!(
                    (f64::from(*count) - expected).abs() < 5.0 * expected.sqrt() + 1.0,
                    "s={exponent} rank {}",
                    i + 1
                );
            }
        }
    }

    #[test]
    fn draws_the_only_member_of_a_population_of_one() {
        let mut rng = Rng::new(1, 0);
        for draw in [Draw::Uniform, Draw::Zipf(1.1)] {
            let sampler = Sampler::new(draw, 1);
            assert!((0..100).all(|_| sampler.draw(&mut rng) == 0));
        }
    }
}
