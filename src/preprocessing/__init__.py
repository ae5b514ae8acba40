"""Raw scans and slices -> processed files, and the way back to a place in the scan.

`scan` makes the files of one scan, `processed` a whole data set; `raw` brings a head as the scanner
made it to the standard; `space` knows where every voxel lies.
"""
