"""Answers without images, and the audit made with them."""
