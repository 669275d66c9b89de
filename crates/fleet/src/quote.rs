//! The only place where a word is made fit for a remote shell.

/// In single quotes where it holds anything a shell could read differently.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gives_back_what_was_quoted() {
        for word in [
            "",
            "plain",
            "two words",
            "it's",
            "$HOME",
            "`id`",
            "a;b",
            "*",
            "\"x\"",
            "new\nline",
            "-n",
            "ü",
            "\\",
        ] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
