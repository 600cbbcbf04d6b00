//! What the audience sees: steps, commands with their output, and checks.

use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::time::Instant;

use crate::{Error, RUN_DIR, Result};

pub(super) struct Narrator {
    colour: bool,
    step: u32,
    checks: u32,
    start: Instant,
}

/// Lines of a command's output that are shown.
const SHOWN: usize = 14;

impl Narrator {
    pub(super) fn new() -> Self {
        Self { colour: stdout().is_terminal(), step: 0, checks: 0, start: Instant::now() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A new step: what comes, and why it is worth a look.
    pub(super) fn step(&mut self, title: &str, why: &str) {
        self.step += 1;
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.step)));
        self.say(why);
    }

    pub(super) fn say(&self, text: &str) {
        println!("   {text}");
    }

    pub(super) fn command(&self, place: &str, words: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
        println!("   {}", self.paint("36", &format!("{place}$ {}", words.join(" "))));
    }

    pub(super) fn output(&self, text: &str) {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        for line in lines.iter().take(SHOWN) {
            println!("   {} {line}", self.paint("2", "|"));
        }
        if lines.len() > SHOWN {
            println!("   {} ... {} more lines", self.paint("2", "|"), lines.len() - SHOWN);
        }
    }

    /// # Errors
    /// The claim does not hold; `seen` says what is instead.
    pub(super) fn check(&mut self, claim: &str, holds: bool, seen: &str) -> Result<()> {
        if !holds {
            println!("   {} {claim}", self.paint("31", "✗"));
            return Err(Error::Unexpected { expected: claim.to_owned(), seen: format!("saw: {seen}") });
        }
        self.checks += 1;
        println!("   {} {claim}", self.paint("32", "✓"));
        Ok(())
    }

    pub(super) fn end(&self) {
        let seconds = self.start.elapsed().as_secs_f64();
        println!(
            "\n{}",
            self.paint("1;32", &format!("{} checks passed in {seconds:.1} s; nothing is left behind", self.checks))
        );
    }

    pub(super) fn what_to_try(&self, program: &Path, lab: &str) {
        let nexin = program.display();
        println!("\n{}", self.paint("1", "The lab stays up. Try:"));
        println!("   export NEXIN_SOCKET={RUN_DIR}/{lab}/node/run/nexin.sock");
        println!("   {nexin} lab status");
        println!("   {nexin} monitor &");
        println!("   {nexin} lab exec tiefighter -- curl -m 2 -X POST http://10.200.0.2/cgi-bin/request-landing");
        println!("   {nexin} policy explain xwing deathstar 80/TCP");
        println!(
            "   {nexin} run -l org=empire -l class=shuttle -- curl -m 2 -X POST http://10.200.0.2/cgi-bin/request-landing"
        );
        println!("   {nexin} lab down");
    }
}

/// As it could be typed.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_fails_is_an_error() {
        let mut narrator = Narrator::new();
        narrator.check("water is wet", true, "").unwrap();
        let error = narrator.check("stones fly", false, "a stone that lies").unwrap_err();
        assert_eq!(error.to_string(), "expected stones fly, but saw: a stone that lies");
        assert_eq!(narrator.checks, 1);
    }

    #[test]
    fn commands_can_be_typed() {
        assert_eq!(shell_word("http://10.0.0.1/x"), "http://10.0.0.1/x");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word(""), "''");
    }
}
