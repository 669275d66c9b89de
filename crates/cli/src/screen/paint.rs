//! Colour where it helps: on a terminal that has not asked for none.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style as Ansi};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Good,
    Bad,
    Warn,
    Note,
    Dim,
    Strong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Colour,
    Plain,
}

impl Paint {
    /// For standard output as it is now. `NO_COLOR` with any value turns colour off.
    pub fn detect() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && std::io::stdout().is_terminal() {
            Self::Colour
        } else {
            Self::Plain
        }
    }

    pub fn text(self, style: Style, text: &str) -> String {
        if self == Self::Plain {
            return text.to_owned();
        }
        let ansi = match style {
            Style::Good => AnsiColor::Green.on_default(),
            Style::Bad => AnsiColor::Red.on_default().bold(),
            Style::Warn => AnsiColor::Yellow.on_default(),
            Style::Note => AnsiColor::Cyan.on_default(),
            Style::Dim => Ansi::new().dimmed(),
            Style::Strong => Ansi::new().bold(),
        };
        format!("{ansi}{text}{ansi:#}")
    }
}
