"""Rows of SPAR-7M as it was released, against their depth, poses and intrinsics."""
