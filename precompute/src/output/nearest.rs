//! Names that are not known, and what was probably meant. Pure.

/// A longer name is probably some text rather than a name.
pub const NAME_TOLD_MAX: usize = 40;

/// The name that was probably meant: one or two edits away, or written in another style.
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let wanted = plain(name);
    if wanted.len() > NAME_TOLD_MAX {
        return None;
    }
    let allowed = match wanted.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    let distances = known.map(|known| (distance(wanted.as_bytes(), plain(known).as_bytes()), known));
    distances.filter(|(strokes, _)| *strokes <= allowed).min().map(|(_, known)| known)
}

/// The number of letters that are missing, extra, wrong, or swapped with their neighbour.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strokes_are_counted() {
        for (a, b, strokes) in
            [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("index", "indexx", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), strokes, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), strokes, "{b} {a}");
        }
    }
}
