// A host application of the Eclipse Tahu project, for a test: says a line for each birth, value and death that it believes.
import java.util.List;
import org.eclipse.tahu.host.HostApplication;
import org.eclipse.tahu.host.api.HostApplicationEventHandler;
import org.eclipse.tahu.message.SparkplugBPayloadDecoder;
import org.eclipse.tahu.message.model.*;
import org.eclipse.tahu.model.MqttServerDefinition;
import org.eclipse.tahu.mqtt.*;

public class Host implements HostApplicationEventHandler {
  static synchronized void say(String line) {
    System.out.println(line);
    System.out.flush();
  }
  public void onConnect() { say("connected"); }
  public void onDisconnect() {}
  public void onMessage(SparkplugDescriptor who, Message message) {}
  public void onNodeBirthArrived(EdgeNodeDescriptor who, Message message) {}
  public void onNodeBirthComplete(EdgeNodeDescriptor who) { say("born " + who.getDescriptorString()); }
  public void onNodeDataArrived(EdgeNodeDescriptor who, Message message) {}
  public void onNodeDataComplete(EdgeNodeDescriptor who) {}
  public void onNodeDeath(EdgeNodeDescriptor who, Message message) {}
  public void onNodeDeathComplete(EdgeNodeDescriptor who) { say("dead " + who.getDescriptorString()); }
  public void onDeviceBirthArrived(DeviceDescriptor who, Message message) {}
  public void onDeviceBirthComplete(DeviceDescriptor who) { say("born " + who.getDescriptorString()); }
  public void onDeviceDataArrived(DeviceDescriptor who, Message message) {}
  public void onDeviceDataComplete(DeviceDescriptor who) {}
  public void onDeviceDeath(DeviceDescriptor who, Message message) {}
  public void onDeviceDeathComplete(DeviceDescriptor who) {}
  public void onBirthMetric(SparkplugDescriptor who, Metric metric) {}
  public void onDataMetric(SparkplugDescriptor who, Metric metric) {
    say("data " + who.getDescriptorString() + " " + metric.getName() + " " + metric.getDataType() + " " + metric.getValue() + " " +
        metric.getTimestamp().getTime() + " " + (Boolean.TRUE.equals(metric.isHistorical()) ? "historical" : "live"));
  }
  public void onStale(SparkplugDescriptor who, Metric metric) {}

  public static void main(String[] arguments) throws Exception {
    MqttServerDefinition server = new MqttServerDefinition(new MqttServerName("one"), new MqttClientId("tahu-host", false),
        new MqttServerUrl("tcp://127.0.0.1:" + arguments[0]), null, null, 30, null);
    HostApplication host = new HostApplication(new Host(), arguments[1], List.of("spBv1.0/#"), List.of(server), null, new SparkplugBPayloadDecoder(), true);
    host.start(true);
    while (System.in.read() >= 0) {}
    host.shutdown();
    System.exit(0);
  }
}
