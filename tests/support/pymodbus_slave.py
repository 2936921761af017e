"""A slave by pymodbus: usage: pymodbus_slave.py PORT [CERTIFICATE KEY [CA]]. Numbers of every kind in both orders of words, written by its
own builder. With a certificate it speaks TLS (and with a CA it wants one of whoever comes), and within it Modbus' own header, as
Modbus/TCP Security has it: this version of pymodbus leaves the header away there where it is not told."""
import ssl
import sys

from pymodbus import Framer
from pymodbus.constants import Endian
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.payload import BinaryPayloadBuilder
from pymodbus.server import StartTcpServer, StartTlsServer

registers = []
for words in (Endian.BIG, Endian.LITTLE):
    builder = BinaryPayloadBuilder(byteorder=Endian.BIG, wordorder=words)
    builder.add_16bit_uint(65000)
    builder.add_16bit_int(-12345)
    builder.add_32bit_uint(4000000000)
    builder.add_32bit_int(-2000000000)
    builder.add_64bit_uint(2**60 + 1)
    builder.add_64bit_int(-2**60 - 1)
    builder.add_32bit_float(-0.15625)
    builder.add_64bit_float(3.141592653589793)
    registers += builder.to_registers()
slave = ModbusSlaveContext(hr=ModbusSequentialDataBlock(0, registers), zero_mode=True)
context = ModbusServerContext(slaves={1: slave}, single=False)
address = ("127.0.0.1", int(sys.argv[1]))
if len(sys.argv) > 2:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(sys.argv[2], sys.argv[3])
    if len(sys.argv) > 4:
        tls.load_verify_locations(sys.argv[4])
        tls.verify_mode = ssl.CERT_REQUIRED
    StartTlsServer(context=context, address=address, sslctx=tls, framer=Framer.SOCKET)
else:
    StartTcpServer(context=context, address=address)
