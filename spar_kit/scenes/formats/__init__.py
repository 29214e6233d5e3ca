"""File formats that several datasets share: images, PLY, archives, video, COLMAP."""
