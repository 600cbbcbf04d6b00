//! Nearest names: what was meant by a word that is not known.

/// The known word nearest to `word`, if one is near enough to be a slip of the hand.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let limit = (lower.len() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| {
            let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            (distance(&lower, &other), candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?" for the nearest of the known words, else the list of them when it is short.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    match nearest(word, known.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if !known.is_empty() && known.len() <= 16 => Some(format!("known here: {}", known.join(", "))),
        None => None,
    }
}

/// Edits (insert, delete, replace, swap of neighbours) that turn one word into the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut rows = vec![0; (a.len() + 1) * width];
    for (j, cell) in rows.iter_mut().take(width).enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        rows[i * width] = i;
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut best = (rows[(i - 1) * width + j] + 1)
                .min(rows[i * width + j - 1] + 1)
                .min(rows[(i - 1) * width + j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[(i - 2) * width + j - 2] + 1);
            }
            rows[i * width + j] = best;
        }
    }
    rows[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 5] = ["fromEndpoints", "fromEntities", "fromCIDR", "fromCIDRSet", "toPorts"];

    #[test]
    fn slips_find_their_word() {
        for (slip, meant) in [
            ("fromEndpoint", "fromEndpoints"),
            ("toports", "toPorts"),
            ("fromEntites", "fromEntities"),
            ("ftoPorts", "toPorts"),
        ] {
            assert_eq!(nearest(slip, FIELDS), Some(meant), "{slip}");
        }
    }

    #[test]
    fn strangers_are_not_guessed() {
        assert_eq!(nearest("annotations", FIELDS), None);
        assert_eq!(nearest("x", FIELDS), None);
        assert_eq!(nearest("", FIELDS), None);
    }
}
