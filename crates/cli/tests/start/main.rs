//! `vps-test start` as a user runs it: the real binary on real twins.

mod ant_quic;
mod bed;
mod hosts;
mod networks;
mod result;
mod testers;
mod words;
