"""End-to-end tests of Weever with independent clients, over loopback only."""
