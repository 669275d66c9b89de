//! Which file a process was started from. An executable's is `/proc/PID/exe`; a
//! script's process runs its interpreter, and the script is one of its arguments.

/// A shell function: `script_of PID PATTERN` prints the script that a process was
/// started with, if it was: a whole argument after the program's name that matches
/// PATTERN, is a link of ours, and leads to a file that begins with `#!`. A process
/// whose link leads to an executable by now runs no script of ours.
pub const SCRIPT_OF: &str = r#"script_of() {
  tr '\0' '\n' < /proc/$1/cmdline 2>/dev/null | sed 1d | while read -r word; do
    case $word in $2)
      file=$(readlink "$word") && [ "$(head -c 2 "$file" 2>/dev/null)" = '#!' ] && echo "$file"
      break;;
    esac
  done
}"#;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct Process(Child);

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(program: &Path, words: &[&str]) -> Process {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped());
        Process(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn script_of(process: &Process, pattern: &str) -> String {
        let script = format!("{SCRIPT_OF}\nscript_of {} '{pattern}'", process.0.id());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_script_is_found_by_the_link_that_it_was_started_with() {
        let dir = tempfile::tempdir().unwrap();
        let (script, link) = (dir.path().join("x-1"), dir.path().join("x.service"));
        std::fs::write(&script, "#!/bin/sh\nread -r line\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&script, &link).unwrap();
        let own = link.to_str().unwrap();
        let process = start(&link, &["agent", "--node", "a"]);
        assert_eq!(script_of(&process, own), script.to_str().unwrap());
        let other = dir.path().join("other.service");
        assert_eq!(script_of(&process, other.to_str().unwrap()), "");
        assert_eq!(script_of(&process, &own[..own.len() - 1]), "");

        // The link leads to an executable now, and this process does not run it.
        std::fs::remove_file(&link).unwrap();
        symlink("/bin/sh", &link).unwrap();
        assert_eq!(script_of(&process, own), "");
    }

    #[test]
    fn an_executable_that_was_started_by_a_link_is_no_script() {
        let dir = tempfile::tempdir().unwrap();
        let (script, link) = (dir.path().join("x-1"), dir.path().join("x.service"));
        symlink("/bin/cat", &link).unwrap();
        let process = start(&link, &[]);
        // A script was deployed since, and the old executable runs on.
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        std::fs::remove_file(&link).unwrap();
        symlink(&script, &link).unwrap();
        assert_eq!(script_of(&process, link.to_str().unwrap()), "");
    }
}
