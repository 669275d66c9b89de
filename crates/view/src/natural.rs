//! The order that people count in: `saorsa-9` before `saorsa-10`.

/// Compares as people do; equal only where the names are equal.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NaturalKey<'a>(Vec<Part<'a>>, &'a str);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Number(u64),
    Text(&'a str),
}

pub fn natural_key(name: &str) -> NaturalKey<'_> {
    let mut parts = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        // More digits than any counter has are text.
        parts.push(part.parse().map_or(Part::Text(part), Part::Number));
        rest = tail;
    }
    NaturalKey(parts, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count() {
        let mut names = ["saorsa-10", "saorsa-9", "b", "a2b10", "a2b9", "", "01", "1"];
        names.sort_by(|a, b| natural_key(a).cmp(&natural_key(b)));
        assert_eq!(
            names,
            ["", "01", "1", "a2b9", "a2b10", "b", "saorsa-9", "saorsa-10"]
        );
    }

    #[test]
    fn names_that_only_look_equal_stay_apart() {
        assert_ne!(natural_key("n1"), natural_key("n01"));
    }

    #[test]
    fn digits_beyond_any_counter_are_text() {
        assert!(natural_key("99999999999999999999999") > natural_key("1"));
    }
}
