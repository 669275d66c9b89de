//! `vps-test nat` as it is typed, on a twin with a box of every kind; coturn is
//! the second opinion.

#[cfg(test)]
mod commands;
#[cfg(test)]
mod site;
#[cfg(test)]
mod stun;
