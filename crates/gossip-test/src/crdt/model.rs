//! What replicas must be once everybody has every edit. Knows nothing of the stack.

use std::collections::{BTreeMap, BTreeSet};

use super::edit::{Edit, Tag};

/// The elements with an add that no remove has seen.
pub fn set(edits: &[Edit]) -> BTreeSet<String> {
    let removed: BTreeSet<(&str, &Tag)> = edits
        .iter()
        .filter_map(|edit| match edit {
            Edit::Remove { element, seen } => Some(seen.iter().map(|tag| (element.as_str(), tag))),
            _ => None,
        })
        .flatten()
        .collect();
    let stays = edits.iter().filter_map(|edit| match edit {
        Edit::Add { element, tag } if !removed.contains(&(element.as_str(), tag)) => {
            Some(element.clone())
        }
        _ => None,
    });
    stays.collect()
}

/// The values that may win: of the writes that no other write comes after. Which of
/// them, the tie-break says; that it is one and the same everywhere is compared.
pub fn register(edits: &[Edit], name: &str) -> BTreeSet<String> {
    let writes: Vec<(&String, &BTreeMap<String, u64>)> = edits
        .iter()
        .filter_map(|edit| match edit {
            Edit::Write {
                register,
                value,
                clock,
            } if register == name => Some((value, clock)),
            _ => None,
        })
        .collect();
    let is_last =
        |clock: &BTreeMap<String, u64>| !writes.iter().any(|(_, other)| after(other, clock));
    let last = writes.iter().filter(|(_, clock)| is_last(clock));
    last.map(|(value, _)| (*value).clone()).collect()
}

/// Whether a clock comes after another one in every respect and some.
fn after(later: &BTreeMap<String, u64>, earlier: &BTreeMap<String, u64>) -> bool {
    let at = |clock: &BTreeMap<String, u64>, peer: &str| clock.get(peer).copied().unwrap_or(0);
    later != earlier
        && earlier
            .keys()
            .all(|peer| at(later, peer) >= at(earlier, peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(element: &str, peer: &str, count: u64) -> Edit {
        Edit::Add {
            element: element.into(),
            tag: (peer.into(), count),
        }
    }

    fn remove(element: &str, seen: &[(&str, u64)]) -> Edit {
        Edit::Remove {
            element: element.into(),
            seen: seen.iter().map(|(peer, n)| ((*peer).into(), *n)).collect(),
        }
    }

    fn write(value: &str, clock: &[(&str, u64)]) -> Edit {
        Edit::Write {
            register: "r".into(),
            value: value.into(),
            clock: clock.iter().map(|(peer, n)| ((*peer).into(), *n)).collect(),
        }
    }

    fn names(set: BTreeSet<String>) -> Vec<String> {
        set.into_iter().collect()
    }

    #[test]
    fn an_add_that_a_remove_had_not_seen_stays() {
        let edits = [
            remove("x", &[("a", 1)]),
            add("x", "a", 1),
            add("x", "b", 1),
            add("y", "a", 2),
            remove("y", &[("a", 2)]),
            remove("z", &[]),
        ];
        assert_eq!(names(set(&edits)), ["x"]);
    }

    #[test]
    fn the_order_in_which_edits_are_told_does_not_matter() {
        let mut edits = vec![
            add("x", "a", 1),
            remove("x", &[("a", 1)]),
            add("x", "a", 2),
            write("1", &[("a", 1)]),
            write("2", &[("a", 1), ("b", 1)]),
            write("3", &[("a", 2)]),
        ];
        let (elements, values) = (set(&edits), register(&edits, "r"));
        edits.reverse();
        assert_eq!((set(&edits), register(&edits, "r")), (elements, values));
    }

    #[test]
    fn a_write_that_another_one_follows_cannot_win() {
        let edits = [
            write("old", &[("a", 1)]),
            write("left", &[("a", 2)]),
            write("right", &[("a", 1), ("b", 1)]),
        ];
        assert_eq!(names(register(&edits, "r")), ["left", "right"]);
        assert_eq!(names(register(&edits, "other")), Vec::<String>::new());
    }
}
