"""Rasterizer and what is built on it: silhouettes, the floor, undistortion, fusion of depth images."""
