"""Tests of virtual-tiff; a package so that they can share their servers, oracles and writers."""
