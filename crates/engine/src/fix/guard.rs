//! What a fix may not do: move the goal posts, or grow past a size that a person
//! can review.

use crate::git::{GitError, Repository};

/// Binary files, links out of the tree and other repositories cannot be reviewed.
const UNREADABLE_MODES: [(&str, &str); 2] = [
    ("120000", "a symbolic link"),
    ("160000", "another repository"),
];

pub struct Guard<'a> {
    /// Globs from the repository's top that stay as they are.
    pub protected: &'a [String],
    pub max_changed_lines: u64,
}

/// What is wrong with the change from one tree to another; nothing for a good one.
pub fn objections(
    repository: &Repository,
    from: &str,
    to: &str,
    guard: &Guard<'_>,
) -> Result<Vec<String>, GitError> {
    let mut found: Vec<String> = repository
        .changed_at(from, to, guard.protected)?
        .into_iter()
        .map(|path| format!("`{path}` says how the fix is judged, and stays as it is"))
        .collect();
    found.extend(modes(&repository.diff(from, to, &["--raw"])?));
    found.extend(size(
        &repository.diff(from, to, &["--numstat"])?,
        guard.max_changed_lines,
    ));
    Ok(found)
}

/// From `:MODE MODE HASH HASH STATUS<tab>PATH`.
fn modes(raw: &str) -> Vec<String> {
    raw.lines()
        .filter_map(|line| {
            let (what, path) = line.split_once('\t')?;
            let mode = what.split(' ').nth(1)?;
            let (_, is) = UNREADABLE_MODES.iter().find(|(known, _)| *known == mode)?;
            Some(format!("`{path}` is {is}"))
        })
        .collect()
}

/// From `ADDED<tab>DELETED<tab>PATH`; git counts no lines of a binary file.
fn size(numstat: &str, max: u64) -> Vec<String> {
    let mut lines = 0;
    let mut found = Vec::new();
    for entry in numstat.lines() {
        let mut fields = entry.splitn(3, '\t');
        let (added, deleted) = (fields.next(), fields.next());
        let path = fields.next().unwrap_or_default();
        let count = |field: Option<&str>| field.and_then(|text| text.parse::<u64>().ok());
        match (count(added), count(deleted)) {
            (Some(added), Some(deleted)) => lines += added + deleted,
            _ => found.push(format!("`{path}` is a binary file")),
        }
    }
    if lines > max {
        found.push(format!(
            "{lines} lines are changed, and fix.max_changed_lines is {max}"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_reviewed_is_refused() {
        let raw = ":000000 120000 0000000 1234567 A\tsecret\n:100644 100644 1 2 M\tsrc/main.rs\n";
        assert_eq!(modes(raw), ["`secret` is a symbolic link"]);
        assert_eq!(size("-\t-\tblob.bin\n", 9), ["`blob.bin` is a binary file"]);
    }

    #[test]
    fn size_is_added_and_deleted_lines_of_all_files() {
        let numstat = "3\t2\ta\n4\t1\tb\n";
        assert!(size(numstat, 10).is_empty());
        assert_eq!(
            size(numstat, 9),
            ["10 lines are changed, and fix.max_changed_lines is 9"]
        );
    }
}
